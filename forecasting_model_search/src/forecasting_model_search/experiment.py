"""From a config to objects, fitted surrogates and records: what the command line, demo and reproduce share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import study as measure
from .cache import cached
from .command import CommandLine
from .configured import Configured, one_thread, quiet
from .data import HubDataModule
from .learning import SurrogateTraining
from .methods import SurrogateSettings
from .study import StudySettings

TRANSFER_SHIFT = 1  # between the seeds of the two hubs of a transfer
MEMBER_SHIFT = 1_000_003  # between the seeds of the fits that are averaged
CONTROLS = ("none start id", "gmn shuffled")  # left out on hubs that are not among `control_seeds`


class StudyCommandLine(CommandLine):
    """LightningCLI whose configs may say what a study measures."""

    def add_arguments_to_parser(self, parser):
        parser.add_class_arguments(StudySettings, "study")


class Experiment(Configured):
    """The model, data, trainer and study settings of one or more configs, the later over the earlier."""

    command_line = StudyCommandLine
    model: SurrogateTraining
    data: HubDataModule

    def __init__(self, configs: Sequence[str], overrides: Sequence[str] = ()):
        quiet(".*logging interval.*")
        super().__init__(configs, overrides)
        self.settings = self.section("study", StudySettings)

    def fitted(self, member: int = 0) -> SurrogateTraining:
        """The surrogate, fitted on the observed part of the hub; other members have other first weights."""
        settings = {k: v for k, v in self.model.hparams.items() if not k.startswith("_")}
        model = type(self.model)(**settings | {"seed": settings["seed"] + MEMBER_SHIFT * member})
        self.trainer().fit(model, self.data)
        return model.eval()

    # ── records, cached as JSON

    def records(self, kind: str, name: str, out: Path, take: Callable[[], dict], marks: Any = None) -> dict:
        """The record in `out`/KIND/NAME.json, taken first if it is not there or belongs to other settings."""
        with one_thread():
            return cached(out / kind / f"{name}.json", [self.fingerprint(), marks], take)

    def of_seed(self, seed: int, method: str = "", **data: Any) -> Experiment:
        """The experiment of one seed and one method, such as 'gmn shuffled'."""
        changed: dict[str, Any] = {"seed_everything": seed, "model.init_args.seed": seed, "data.init_args.seed": seed}
        if method:
            encoder, _, control = method.partition(" ")
            changed |= {"model.init_args.encoder": encoder, "data.init_args.control": control}
        return self.with_settings(changed | {f"data.init_args.{k}": v for k, v in data.items()})

    @property
    def surrogate(self) -> SurrogateSettings:
        return self.model.surrogate

    def finish(self, kind: str, seed: int, out: Path) -> list[dict]:
        """All records of a kind and a seed, made or read."""
        return {"forecast": self._forecasts, "replay": self._replays, "live": self._live}[kind](seed, out)

    def _forecasts(self, seed: int, out: Path) -> list[dict]:
        """Each method fitted; where transfer is measured, it also ranks a hub of which it is told nothing."""
        found, settings = [], self.settings
        controls = settings.forecast_seeds if settings.control_seeds is None else settings.control_seeds
        for method in settings.forecast_methods:
            if method in CONTROLS and seed not in controls:
                continue
            own, shown = self.of_seed(seed, method), seed == settings.shown
            carried = seed in settings.transfer_seeds and method in settings.transfer_methods
            other = self.of_seed(seed + TRANSFER_SHIFT, method).data if carried else None

            def take(own=own, method=method, shown=shown, other=other):
                members = [own.fitted(k) for k in range(settings.forecast_fits)]
                return measure.forecast_record(members, method, seed, shown, other)

            name = f"{method.replace(' ', '_')}_{seed}" + "_and_transfer" * carried
            found.append(own.records("forecast", name, out, take, [shown, settings.forecast_fits]))
        return found

    def _replays(self, seed: int, out: Path) -> list[dict]:
        settings, found = self.settings, []
        for method in settings.replay_methods:
            own = self.of_seed(seed)

            def take(own=own, method=method):
                own.data.setup()
                return measure.replay_record(
                    own.data.hub, method, settings.replay, seed, self.surrogate, settings.tau_at
                )

            marks = [asdict(settings.replay), settings.tau_at]
            found.append(own.records("replay", f"{method}_{seed}", out, take, marks))
        return found

    def _live(self, seed: int, out: Path) -> list[dict]:
        settings = self.settings
        networks = getattr(self.data, "zoo", None)
        networks = networks.networks if networks else 120

        def take():
            return measure.live_record(settings, self.surrogate, networks)

        marks = [
            settings.live_configs,
            settings.live_budget,
            settings.live_seed,
            settings.live_encoder,
            asdict(settings.replay),
        ]
        return [self.records("live", f"race_{seed}", out, take, marks)]

    def jobs(self) -> list[tuple[str, int]]:
        """Kinds and seeds of all that the settings name, the longest first."""
        s = self.settings
        jobs = [("replay", seed) for seed in s.replay_seeds if s.replay_methods]
        jobs += [("forecast", seed) for seed in s.forecast_seeds]
        return jobs + [("live", s.live_seed)] * bool(s.live_budget)

    def finish_all(self, out: Path, title: str) -> dict[str, list[dict]]:
        """All records by kind, in worker processes where there are several, with a progress bar."""
        todo = self.jobs()
        taken = self.each("finish", [(kind, seed, out) for kind, seed in todo], self.settings.workers, title)
        found: dict[str, list[dict]] = {"forecast": [], "replay": [], "live": []}
        for (kind, _), records in zip(todo, taken, strict=True):
            found[kind] += records
        return found | {"transfer": transfers(found["forecast"])}


def transfers(forecasts: Sequence[dict]) -> list[dict]:
    """What the fitted surrogates said of another hub, as records like their own."""
    return [{"method": r["method"], "seed": r["seed"], **r["transfer"]} for r in forecasts if r.get("transfer")]

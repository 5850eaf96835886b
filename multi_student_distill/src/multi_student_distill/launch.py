"""Students are independent jobs: one after another, as processes side by side, or as an array of a Slurm cluster.

A job that fails never stops the rest. The manifest says of each when it ran and how it ended; launching again runs what
is missing, and a job that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from .results import write_json


@dataclass
class Job:
    """One student's run.

    Args:
        student: k. command: what runs it. log: file of its output. status: waiting, done or failed. started, ended:
            seconds since the epoch. returncode: of the process.
    """

    student: int
    command: list[str]
    log: str
    status: str = "waiting"
    started: float = 0.0
    ended: float = 0.0
    returncode: int | None = None


def run_job(job: Job) -> Job:
    """Run it to its end, in this process's place; never raises."""
    job.started = time.time()
    try:
        Path(job.log).parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
            job.returncode = subprocess.run(job.command, stdout=log, stderr=log, env=environment).returncode
    except OSError as error:
        Path(job.log).write_text(f"{error}\n")
        job.returncode = 127
    job.ended, job.status = time.time(), "failed" if job.returncode else "done"
    return job


def run_serial(jobs: Sequence[Job], finished: Callable[[Job], None], workers: int) -> None:
    """One after another."""
    for job in jobs:
        finished(run_job(job))


def run_processes(jobs: Sequence[Job], finished: Callable[[Job], None], workers: int) -> None:
    """`workers` side by side."""
    with ThreadPoolExecutor(workers) as pool:
        for job in pool.map(run_job, jobs):
            finished(job)


def run_slurm(jobs: Sequence[Job], finished: Callable[[Job], None], workers: int, cluster: str = "slurm") -> None:
    """A job array through submitit, `workers` of it at a time. Needs the extra `slurm`."""
    try:
        import submitit
    except ImportError as error:
        raise ValueError("the slurm backend needs the extra: pip install multi-student-distill[slurm]") from error
    executor = submitit.AutoExecutor(Path(jobs[0].log).parent / "submitit", cluster=cluster)
    executor.update_parameters(timeout_min=7 * 24 * 60, name="multi_student_distill")
    if cluster == "slurm":
        executor.update_parameters(slurm_array_parallelism=workers)
    for job, submitted in zip(jobs, executor.map_array(run_job, list(jobs)), strict=True):
        try:
            finished(submitted.result())
        except Exception as error:  # the array's task was killed: the others' results are still wanted
            job.status, job.returncode = "failed", 1
            Path(job.log).write_text(f"{error}\n")
            finished(job)


BACKENDS = {"serial": run_serial, "process": run_processes, "slurm": run_slurm}


def student_command(configs: str, student: int, out: Path, changed: Sequence[str]) -> list[str]:
    """The command line of one student."""
    own = [f"--overrides+={change}" for change in changed]
    module = [sys.executable, "-m", "multi_student_distill", "distill", configs]
    return [*module, "--student", str(student), "--out", str(out), *own]


def launch_all(jobs: Sequence[Job], backend: str, workers: int, manifest: Path) -> list[Job]:
    """Run all jobs and keep the manifest.

    Raises:
        ValueError: no such backend, or no worker.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}, choose from {', '.join(BACKENDS)}")
    if workers < 1:
        raise ValueError(f"at least one worker is needed, got {workers}")
    done = {job.student: job for job in jobs}

    def finished(job: Job) -> None:
        done[job.student] = job
        write_json(manifest, {"backend": backend, "jobs": [asdict(j) for j in done.values()]})

    BACKENDS[backend](jobs, finished, workers)
    return list(done.values())

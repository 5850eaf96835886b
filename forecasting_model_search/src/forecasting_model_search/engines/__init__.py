"""Forecasting Model Search inside the engines that people use: Optuna, Ray Tune, Lightning. Each file needs
only its own."""

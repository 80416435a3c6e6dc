"""A1111's sampler and schedule names → diffusers schedulers.

Owns the two tables. Choosing follows A1111 1.10: a name it does not know becomes the default, "DPM++ 2M Karras" is
split into sampler and schedule; unlike A1111 each such correction is also reported, as a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sampler:
    name: str
    aliases: tuple[str, ...]
    scheduler_class: str
    arguments: dict[str, Any] = field(default_factory=dict)
    schedule: str = "uniform"  # what "Automatic" means for this sampler
    sigmas: bool = True  # whether its diffusers class can follow Karras and exponential schedules

    def options(self) -> dict[str, str]:
        return {"scheduler": self.schedule} if self.schedule != "uniform" else {}


@dataclass(frozen=True)
class Schedule:
    name: str
    label: str
    aliases: tuple[str, ...] | None
    default_rho: float
    arguments: dict[str, Any] = field(default_factory=dict)
    needs_sigmas: bool = False


_MULTI = "DPMSolverMultistepScheduler"
_SINGLE = "DPMSolverSinglestepScheduler"
_SDE = {"algorithm_type": "sde-dpmsolver++"}

SAMPLERS = (
    Sampler("DPM++ 2M", ("k_dpmpp_2m",), _MULTI, {"solver_order": 2}, "karras"),
    Sampler("DPM++ SDE", ("k_dpmpp_sde",), _SINGLE, {**_SDE, "lower_order_final": True}, "karras"),
    Sampler("DPM++ 2M SDE", ("k_dpmpp_2m_sde",), _MULTI, {**_SDE, "solver_order": 2}, "exponential"),
    Sampler(
        "DPM++ 2M SDE Heun", ("k_dpmpp_2m_sde_heun",), _MULTI,
        {**_SDE, "solver_order": 2, "solver_type": "heun"}, "exponential",
    ),
    Sampler("DPM++ 2S a", ("k_dpmpp_2s_a",), _SINGLE, {"lower_order_final": True}, "karras"),
    Sampler("DPM++ 3M SDE", ("k_dpmpp_3m_sde",), _MULTI, {**_SDE, "solver_order": 3}, "exponential"),
    Sampler("Euler a", ("k_euler_a", "k_euler_ancestral"), "EulerAncestralDiscreteScheduler", sigmas=False),
    Sampler("Euler", ("k_euler",), "EulerDiscreteScheduler"),
    Sampler("LMS", ("k_lms",), "LMSDiscreteScheduler"),
    Sampler("Heun", ("k_heun",), "HeunDiscreteScheduler"),
    Sampler("DPM2", ("k_dpm_2",), "KDPM2DiscreteScheduler", schedule="karras"),
    Sampler("DPM2 a", ("k_dpm_2_a",), "KDPM2AncestralDiscreteScheduler", schedule="karras"),
    Sampler("DDIM", ("ddim",), "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}, "ddim", sigmas=False),
    Sampler("PLMS", ("plms", "pndm"), "PNDMScheduler", {"skip_prk_steps": True}, "ddim", sigmas=False),
    Sampler("UniPC", ("unipc",), "UniPCMultistepScheduler"),
    Sampler("LCM", ("k_lcm",), "LCMScheduler", {"clip_sample": False}, sigmas=False),
)  # fmt: skip

SCHEDULES = (
    Schedule("automatic", "Automatic", None, -1.0),
    Schedule("uniform", "Uniform", None, -1.0, {"timestep_spacing": "linspace"}),
    Schedule("karras", "Karras", None, 7.0, {"use_karras_sigmas": True}, needs_sigmas=True),
    Schedule("exponential", "Exponential", None, -1.0, {"use_exponential_sigmas": True}, needs_sigmas=True),
    Schedule("sgm_uniform", "SGM Uniform", ("SGMUniform",), -1.0, {"timestep_spacing": "trailing"}),
    Schedule("simple", "Simple", None, -1.0, {"timestep_spacing": "trailing"}),
    Schedule("normal", "Normal", None, -1.0, {"timestep_spacing": "linspace"}),
    Schedule("ddim", "DDIM", None, -1.0, {"timestep_spacing": "leading", "steps_offset": 1}),
)
AUTOMATIC = SCHEDULES[0]

# Keys of a model's own scheduler config that describe the model, not the way of sampling it.
_MODEL_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
)


def find_sampler(name: str) -> Sampler | None:
    wanted = name.lower()
    for sampler in SAMPLERS:
        if wanted == sampler.name.lower() or wanted in sampler.aliases:
            return sampler
    return None


def find_schedule(name: str) -> Schedule | None:
    wanted = name.lower()
    for schedule in SCHEDULES:
        if wanted in (schedule.name, schedule.label.lower(), *(alias.lower() for alias in schedule.aliases or ())):
            return schedule
    return None


def choose(sampler_name: str | None, schedule_name: str | None) -> tuple[Sampler, Schedule, list[str]]:
    """The sampler and schedule A1111 would take for these names, and a warning for each name that was not known."""
    warnings: list[str] = []
    schedule = find_schedule(schedule_name) if schedule_name else AUTOMATIC
    if schedule is None:
        warnings.append(f"Schedule {schedule_name!r} is not known; used {AUTOMATIC.label!r}.")
        schedule = AUTOMATIC
    name = sampler_name or SAMPLERS[0].name
    sampler = find_sampler(name)
    if sampler is None and " " in name:
        for candidate in SCHEDULES:
            for suffix in (candidate.label, candidate.name, *(candidate.aliases or ())):
                if sampler is None and name.lower().endswith(" " + suffix.lower()):
                    sampler = find_sampler(name[: -len(suffix) - 1])
                    schedule = candidate if sampler else schedule
    if sampler is None:
        warnings.append(f"Sampler {sampler_name!r} is not known; used {SAMPLERS[0].name!r}.")
        sampler = SAMPLERS[0]
    if schedule.needs_sigmas and not sampler.sigmas:
        warnings.append(f"Sampler {sampler.name!r} cannot follow schedule {schedule.label!r}; used its own.")
        schedule = AUTOMATIC
    if schedule.name == sampler.schedule:
        schedule = AUTOMATIC
    return sampler, schedule, warnings


def shown_schedule(sampler: Sampler, schedule: Schedule) -> str:
    """The label in info and infotexts. As in A1111, a sampler's own Karras or exponential schedule is named, not called Automatic."""
    own = find_schedule(sampler.schedule) if schedule is AUTOMATIC else None
    return own.label if own is not None and own.needs_sigmas else schedule.label


def build_scheduler(sampler: Sampler, schedule: Schedule, model_config: dict[str, Any]) -> Any:
    """A fresh diffusers scheduler for one request. `model_config` is the config of the model's own scheduler."""
    effective = find_schedule(sampler.schedule) if schedule is AUTOMATIC else schedule
    if effective is None:
        raise ValueError(f"no schedule called {sampler.schedule!r}")
    cls = _scheduler_class(sampler.scheduler_class)
    wanted = {key: model_config[key] for key in _MODEL_KEYS if model_config.get(key) is not None}
    wanted |= {**effective.arguments, **sampler.arguments}
    accepted = cls._get_init_keys(cls)
    return cls(**{key: value for key, value in wanted.items() if key in accepted})


def _scheduler_class(name: str) -> Any:
    if name == "LMSDiscreteScheduler":
        return _lms_class()
    import diffusers

    return getattr(diffusers, name)


def _lms_class() -> Any:
    """LMS without scipy: what it integrates is a polynomial, so its exact integral needs numpy alone."""
    from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
    from numpy.polynomial import Polynomial

    class ExactLMSDiscreteScheduler(LMSDiscreteScheduler):
        def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
            product = Polynomial([1.0])
            sigma = self.sigmas.double()
            here = float(sigma[t - current_order])
            for k in range(order):
                if k != current_order:
                    other = float(sigma[t - k])
                    product *= Polynomial([-other, 1.0]) / (here - other)
            integral = product.integ()
            return float(integral(float(sigma[t + 1])) - integral(float(sigma[t])))

    return ExactLMSDiscreteScheduler

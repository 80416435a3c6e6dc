"""The options that GET and POST /sdapi/v1/options show: A1111's names, those that mean something here and those that
clients look up. Kept in memory only; a restart brings the defaults back."""

from __future__ import annotations

import threading
from typing import Any

DEFAULTS: dict[str, Any] = {
    "samples_save": True,
    "samples_format": "png",
    "samples_filename_pattern": "",
    "save_images_add_number": True,
    "grid_save": True,
    "grid_format": "png",
    "grid_only_if_multiple": True,
    "return_grid": True,
    "do_not_show_images": False,
    "enable_pnginfo": True,
    "add_version_to_infotext": True,
    "jpeg_quality": 80,
    "webp_lossless": False,
    "outdir_samples": "",
    "outdir_txt2img_samples": "outputs/txt2img-images",
    "outdir_img2img_samples": "outputs/img2img-images",
    "sd_model_checkpoint": None,
    "sd_checkpoint_hash": "",
    "sd_checkpoints_limit": 1,
    "sd_vae": "Automatic",
    "sd_unet": "Automatic",
    "sd_lora": "None",
    "CLIP_stop_at_last_layers": 1,
    "emphasis": "Original",
    "comma_padding_backtrack": 20,
    "randn_source": "CPU",
    "eta_noise_seed_delta": 0,
    "eta_ddim": 0.0,
    "eta_ancestral": 1.0,
    "s_churn": 0.0,
    "s_tmin": 0.0,
    "s_tmax": 0.0,
    "s_noise": 1.0,
    "img2img_fix_steps": False,
    "img2img_color_correction": False,
    "img2img_background_color": "#ffffff",
    "initial_noise_multiplier": 1.0,
    "inpainting_mask_weight": 1.0,
    "upscaler_for_img2img": None,
    "face_restoration": False,
    "face_restoration_model": "CodeFormer",
    "tiling": False,
    "live_previews_enable": True,
    "show_progress_every_n_steps": 10,
    "show_progress_type": "Approx cheap",
    "live_preview_refresh_period": 1000,
    "interrupt_after_current": False,
    "api_enable_requests": False,
    "api_forbid_local_requests": True,
    "upcast_attn": False,
    "cross_attention_optimization": "Automatic",
    "memmon_poll_rate": 8,
    "disabled_extensions": [],
    "disable_all_extensions": "none",
}
MAX_KEYS = 2000


class OptionError(ValueError):
    """A value of the wrong kind for an option."""


class Options:
    """A dictionary of options. Unknown names are kept and shown again, since clients set options of extensions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = dict(DEFAULTS)

    def get(self, name: str) -> Any:
        return self._values.get(name, DEFAULTS.get(name))

    def all(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._values)

    def update(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            check(name, value)
        with self._lock:
            if len(self._values.keys() | values.keys()) > MAX_KEYS:
                raise OptionError(f"more than {MAX_KEYS} options")
            self._values.update(values)


def check(name: str, value: Any) -> None:
    """Raises OptionError when a known option gets a value of another kind than its default has."""
    default = DEFAULTS.get(name)
    if default is None or (name not in DEFAULTS):
        return
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, int | float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, type(default))
    if not fits:
        raise OptionError(f"option {name!r} must be a {type(default).__name__}, not {type(value).__name__}")

"""Request bodies of the API with A1111's names and defaults, plus bounds that keep one request from ending the process."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(max_length=1_000_000)]
Name = Annotated[str, Field(max_length=1_000)]
Side = Annotated[int, Field(ge=-16_384, le=16_384)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**64 - 1)]


class Body(BaseModel):
    """Unknown fields are ignored, as A1111 does; NaN and infinity are no numbers in JSON."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, coerce_numbers_to_str=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def null_is_default(cls, values: Any) -> Any:
        """A1111 takes null for each field, and clients send it for what their user left alone."""
        return {key: value for key, value in values.items() if value is not None} if isinstance(values, dict) else values


class Generation(Body):
    """What txt2img and img2img share."""

    prompt: Text = ""
    negative_prompt: Text = ""
    styles: list[Name] | None = None
    seed: Seed = -1
    subseed: Seed = -1
    subseed_strength: Annotated[float, Field(ge=0, le=1)] = 0
    seed_resize_from_h: Side = -1
    seed_resize_from_w: Side = -1
    sampler_name: Name | None = None
    batch_size: Annotated[int, Field(le=256)] = 1
    n_iter: Annotated[int, Field(le=1_000)] = 1
    steps: Annotated[int, Field(le=10_000)] = 50
    cfg_scale: float = 7.0
    width: Side = 512
    height: Side = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    eta: float | None = None
    denoising_strength: Annotated[float, Field(ge=0, le=1)] | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: Name | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool = False
    firstpass_image: str | None = None
    comments: dict[str, Any] | None = None
    scheduler: Name | None = None
    force_task_id: Name | None = None
    sampler_index: Name = "Euler"
    script_name: Name | None = None
    script_args: list[Any] = []
    send_images: bool = True
    save_images: bool = False
    alwayson_scripts: dict[str, Any] = {}
    infotext: Text | None = None
    # fettle's own, not A1111's: decode with a VAE that cannot overflow, after a picture came out black.
    fettle_vae_dtype: Literal["float32"] | None = None
    # fettle's own: one of the templates that the engine was started with.
    fettle_template: Name | None = None


class Txt2Img(Generation):
    enable_hr: bool = False
    firstphase_width: Side = 0
    firstphase_height: Side = 0
    hr_scale: Annotated[float, Field(gt=0, le=16)] = 2.0
    hr_upscaler: Name | None = None
    hr_second_pass_steps: Annotated[int, Field(ge=0, le=10_000)] = 0
    hr_resize_x: Annotated[int, Field(ge=0, le=16_384)] = 0
    hr_resize_y: Annotated[int, Field(ge=0, le=16_384)] = 0
    hr_checkpoint_name: Name | None = None
    hr_sampler_name: Name | None = None
    hr_scheduler: Name | None = None
    hr_prompt: Text = ""
    hr_negative_prompt: Text = ""


class Txt2ImgBatch(Body):
    """Not A1111's: requests that share one pass of the network."""

    requests: Annotated[list[Txt2Img], Field(min_length=1, max_length=64)]
    force_task_id: Name | None = None


class Img2Img(Generation):
    init_images: list[str] | None = None
    resize_mode: int = 0
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur_x: Annotated[int, Field(ge=0, le=1_000)] = 4
    mask_blur_y: Annotated[int, Field(ge=0, le=1_000)] = 4
    mask_blur: Annotated[int, Field(ge=0, le=1_000)] | None = None
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: Annotated[int, Field(ge=0, le=16_384)] = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float | None = None
    latent_mask: str | None = None
    include_init_images: bool = False


class PngInfo(Body):
    image: str


class Upscale(Body):
    """extra-single-image; of its many fields those that mean something without a model."""

    image: str = ""
    resize_mode: Annotated[int, Field(ge=0, le=1)] = 0
    upscaling_resize: Annotated[float, Field(gt=0, le=8)] = 2
    upscaling_resize_w: Annotated[int, Field(ge=1, le=16_384)] = 512
    upscaling_resize_h: Annotated[int, Field(ge=1, le=16_384)] = 512
    upscaling_crop: bool = True
    upscaler_1: Name = "None"

from __future__ import annotations

import os
import shutil


def clean(folder_list: list[str] | None = None) -> None:
    """Removes what the download helpers leave behind, and the folders named."""
    for folder in ["input_objects", "output_objects", "job_files", *(folder_list or [])]:
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.exists("output.zip"):
        os.remove("output.zip")

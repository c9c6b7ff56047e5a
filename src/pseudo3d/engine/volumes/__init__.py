"""Scans: trained, scored and looked at by the trainer of clips."""

from pseudo3d.models import unet as unet  # the networks enter the registry
from pseudo3d.models import volume as volume

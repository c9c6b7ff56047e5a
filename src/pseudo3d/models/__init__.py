"""Networks by name; importing the package enters every family into the registry."""

from pseudo3d.models import c3d as c3d
from pseudo3d.models import light as light
from pseudo3d.models import p3d as p3d
from pseudo3d.models import resnet2d as resnet2d
from pseudo3d.models import resnet3d as resnet3d
from pseudo3d.models import tsm as tsm
from pseudo3d.models import unet as unet
from pseudo3d.models import volume as volume
from pseudo3d.models.network import Network as Network
from pseudo3d.models.registry import create_model as create_model
from pseudo3d.models.registry import default_config as default_config
from pseudo3d.models.registry import list_models as list_models

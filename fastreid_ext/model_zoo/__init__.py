"""The shipped configs, wherever fastreid-ext is installed."""

from fastreid_ext.model_zoo.shipped import get_config, get_config_file, list_config_files

__all__ = ["get_config", "get_config_file", "list_config_files"]

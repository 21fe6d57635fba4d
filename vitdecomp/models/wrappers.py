"""Modules that only pass images on to another module, and are looked through."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from vitdecomp.errors import SpecError

# The class whose `forward` hands everything to one submodule, and that submodule's path. Each was read: its `forward`
# returns what the submodule returns. Names rather than classes, so that no library is imported for it.
PASSES_TO: Mapping[str, str] = {
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
    "timm.utils.model_ema.ModelEmaV2": "module",
    "timm.utils.model_ema.ModelEmaV3": "module",
    "peft.peft_model.PeftModel": "base_model.model",  # low-rank updates sit inside the base model's own layers
    "peft.peft_model.PeftModelForFeatureExtraction": "base_model.model",
    "lightning.fabric.wrappers._FabricModule": "_forward_module",
    "lightning_fabric.wrappers._FabricModule": "_forward_module",
}
ADDS_PROMPTS = "is_prompt_learning"  # in the configuration of PEFT: such a wrapper adds tokens
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module that does the work, behind all wrappers that only pass on to it.

    A wrapper of one's own, a subclass with a `forward` of its own, or one with hooks does something, and stays.
    """
    inner = _passes_to(module)
    return module if inner is None else unwrapped(inner)


def refuse_torchscript(module: nn.Module) -> None:
    """Raise `SpecError` for a module, or a part of it, whose Python source is gone."""
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            where = f"{type(module).__name__}.{path}" if path else "the model"
            raise SpecError(
                f"{where} is TorchScript, which keeps no modules to trace: make the model from its source (timm:NAME, "
                "python:module:factory, ...) and give it these weights with --checkpoint (checkpoint_path=), saved by "
                "safetensors.torch.save_file(module.state_dict(), 'weights.safetensors')"
            )


def _passes_to(module: nn.Module) -> nn.Module | None:
    if any(getattr(module, hooks, None) for hooks in HOOKS):
        return None
    for kind in type(module).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in PASSES_TO:
            return None if _adds_prompts(module) else _part(module, PASSES_TO[name])
        if kind is nn.Sequential:
            return next(iter(module.children())) if len(module._modules) == 1 else None
        if "forward" in vars(kind) or "__call__" in vars(kind):
            return None
    return None


def _part(module: nn.Module, path: str) -> nn.Module | None:
    part: object = module
    for name in path.split("."):
        part = getattr(part, name, None)
    return part if isinstance(part, nn.Module) else None


def _adds_prompts(module: nn.Module) -> bool:
    settings = getattr(module, "peft_config", None) or {}
    return any(getattr(each, ADDS_PROMPTS, False) for each in getattr(settings, "values", tuple)())

"""Which installed distribution a module is of, where several have it: with or without windows, for CPU or GPU."""

import importlib.metadata

# Module -> distributions that have it. Python >= 3.11 finds others too.
SEVERAL = {
    "cv2": (
        *("opencv-python-headless", "opencv-python"),
        *("opencv-contrib-python-headless", "opencv-contrib-python"),
    ),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-gpu-cuvs"),
}


def providers_of(module: str) -> list[str]:
    """Return the installed distributions that have a module of ``SEVERAL``, such as faiss-cpu or faiss-gpu for faiss.

    Of other modules, which have one, none is returned.
    """
    if module not in SEVERAL:
        return []
    return sorted({*filter(_is_there, SEVERAL[module]), *importlib.metadata.packages_distributions().get(module, ())})


def _is_there(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def too_many(module: str, providers: list[str]) -> tuple[str, str]:
    """Return what is wrong with several distributions of a module, and what to do: files of the same names.

    The one that was installed last counts, or half of it where another one was removed after it.
    """
    return (
        f"{module} is there {len(providers)} times: {' and '.join(providers)} overwrite each other's files",
        f"pip uninstall {' '.join(providers)}, then install the one that you want (docs/install.md)",
    )


def where_galleries_are_searched() -> str:
    """Return where a faiss that is built for GPUs searches."""
    from fastreid_ext.evaluation.gpu_index import gpu_count

    count = gpu_count()
    where = f"on {count} GPU{'s' if count > 1 else ''}" if count else "on the CPU, because torch finds no CUDA device"
    return f"faiss is built for GPUs: galleries are searched {where}"

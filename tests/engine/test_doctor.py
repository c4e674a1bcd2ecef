"""The examination of an installation: each fault is found, named and given its remedy, and none breaks it."""

import functools
import importlib
import importlib.metadata

import pytest

from fastreid_ext import compat, model_zoo
from fastreid_ext.compat import patch
from fastreid_ext.engine import doctor
from fastreid_ext.engine.doctor import NOTE, OK, PROBLEM, Finding, examine


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Every section that reads all shipped configs takes two seconds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(model_zoo, "get_config", functools.cache(model_zoo.get_config))
        yield


@pytest.fixture
def found():
    """``found("installed", "torch ")``: the one finding of a section whose text begins so."""

    def find(section, start):
        (finding,) = (each for each in doctor.SECTIONS[section]() if each.text.startswith(start))
        assert finding.section == section
        return finding

    return find


def test_this_installation_works():
    findings = examine()
    assert [finding for finding in findings if finding.status == PROBLEM] == []
    texts = {finding.text.split()[0] for finding in findings if finding.section == "installed"}
    assert texts >= {"Python", "torch", "torchvision", "numpy", "cv2", "faiss", "PIL", "FastReID", "fastreid-ext"}
    patches = [finding for finding in findings if finding.section == "patches"]
    assert len(patches) == len(patch.PATCHES) and {finding.status for finding in patches} == {OK}
    assert all(finding.advice for finding in findings if finding.status == NOTE and "CSVDataset" not in finding.text)


@pytest.mark.parametrize(
    ("module", "providers"),
    [("faiss", ["faiss-gpu-cu12"]), ("cv2", ["opencv-python"]), ("faiss", ["faiss-gpu", "faiss-cpu"])],
)
def test_which_distribution_a_module_is_of(module, providers, monkeypatch):
    monkeypatch.setattr("fastreid_ext.engine.providers._is_there", providers[:1].__contains__)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {module: providers[1:]})
    version, *warnings = (each for each in doctor.installed() if each.text.startswith(f"{module} "))
    assert version.status == OK and version.text.endswith(f" ({', '.join(sorted(providers))})")
    if len(providers) == 1:
        assert not warnings
        return
    (warning,) = warnings
    assert warning.status == NOTE
    assert warning.text == "faiss is there 2 times: faiss-cpu and faiss-gpu overwrite each other's files"
    assert warning.advice.startswith("pip uninstall faiss-cpu faiss-gpu, then install the one that you want")


@pytest.mark.parametrize(
    ("gpus", "where"), [(0, "on the CPU, because torch finds no CUDA device"), (1, "on 1 GPU"), (2, "on 2 GPUs")]
)
def test_a_faiss_for_gpus(gpus, where, found, monkeypatch):
    import faiss

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr("fastreid_ext.evaluation.gpu_index.gpu_count", lambda: gpus)
    finding = found("installed", "faiss is built for GPUs")
    assert finding.status == OK and finding.text == f"faiss is built for GPUs: galleries are searched {where}"


def test_the_wheel_and_a_checkout_are_told_apart(found, monkeypatch):
    assert found("installed", "FastReID").text.startswith("FastReID 1.4.0, the wheel (")

    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", not_installed)
    assert found("installed", "FastReID").text.startswith("FastReID, a checkout that calls itself 1.3 (")


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("2.13.0+cpu", "pip install -U 'torch!=2.13.0' torchvision"),
        ("2.14.1", "so that they fit: pip install -U torch==2.14.1 torchvision"),
    ],
)
def test_a_torchvision_that_does_not_import(version, advice, found, monkeypatch):
    import_module = importlib.import_module

    def broken(name):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms\ndoes not exist")
        return import_module(name)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    monkeypatch.setattr(doctor, "_version_of", {"torch": version, "torchvision": "0.1"}.get)
    finding = found("installed", "torchvision")
    assert finding.status == PROBLEM and finding.advice.endswith(advice)
    assert finding.text == "torchvision can't be imported: RuntimeError: operator torchvision::nms does not exist"


@pytest.mark.parametrize(("critical", "status"), [(True, PROBLEM), (False, NOTE)])
def test_a_skipped_patch(critical, status, found, monkeypatch):
    skipped = patch.Patch(
        "sample", "a.py:1", "any", {}, int, needed=bool, if_skipped="nothing moves", critical=critical
    )
    monkeypatch.setattr(compat, "report", lambda: [patch.Outcome(skipped, "skipped", "this FastReID has no x:y")])
    finding = found("patches", "sample")
    assert finding.status == status
    assert finding.text == "sample (a.py:1): skipped, this FastReID has no x:y"
    assert finding.advice.startswith("without it nothing moves; ")


def test_a_patch_that_is_not_needed(found, monkeypatch):
    fine = patch.Patch("sample", "a.py:1", "any", {}, int, needed=bool, if_skipped="nothing moves")
    monkeypatch.setattr(compat, "report", lambda: [patch.Outcome(fine, "not needed")])
    assert found("patches", "sample") == Finding("patches", OK, "sample (a.py:1): not needed")


def test_data_sets_are_found(found, monkeypatch, tmp_path):
    for folder in ("Occluded-DukeMTMC-reID", "MSMT17_V2", "SynthReID-tiny"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    assert found("data sets", "FASTREID_DATASETS").text == f"FASTREID_DATASETS={tmp_path}"
    assert found("data sets", "OccludedDuke").text == f"OccludedDuke: {tmp_path}/Occluded-DukeMTMC-reID"
    assert found("data sets", "MSMT17").text == f"MSMT17: {tmp_path}/MSMT17_V2"
    assert found("data sets", "SynthReID").text == "SynthReID: SynthReID-tiny"
    missing = found("data sets", "Market1501")
    assert missing.status == NOTE and missing.advice.startswith(f"put it at {tmp_path}/Market-1501-v15.09.15; see http")


def test_no_folder_of_data_sets(found, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTREID_DATASETS", raising=False)
    finding = found("data sets", "FASTREID_DATASETS")
    assert finding.status == NOTE and str(tmp_path / "datasets") in finding.text and finding.advice


def test_pretrained_weights_are_found(found, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "checkpoints"
    resnet = found("pretrained weights", f"{folder}/resnet50-19c8e357.pth, not there (")
    assert resnet.status == NOTE and "download.pytorch.org" in resnet.advice
    res2net = found("pretrained weights", "the weights of build_res2net_backbone 50x, not there (")
    assert "download res2net50_26w_4s-06e79181.pth" in res2net.advice
    osnet = found("pretrained weights", f"{folder}/osnet_x1_0_imagenet.pth, not there (")  # of light configs
    assert osnet.status == NOTE and "drive.google.com" in osnet.advice
    deep = found("pretrained weights", f"{tmp_path}/hub/checkpoints/resnet152-394f9c45.pth, not there (")
    assert "download.pytorch.org" in deep.advice
    assert found("caches", str(folder)).text.endswith("not there yet; it is made by the first download")

    folder.mkdir()
    (folder / "resnet50-19c8e357.pth").write_bytes(b"0" * 2_000_000)
    assert found("pretrained weights", f"{folder}/resnet50-19c8e357.pth (").status == OK
    assert found("caches", str(folder)).text == f"{folder}: 2 MB of downloaded weights"


def test_a_section_that_fails_does_not_hide_the_others(monkeypatch):
    monkeypatch.setitem(doctor.SECTIONS, "data sets", lambda: 1 / 0)
    monkeypatch.setitem(doctor.SECTIONS, "pretrained weights", list)
    findings = examine()
    assert Finding("data sets", NOTE, "not examined: ZeroDivisionError: division by zero") in findings
    assert findings[-1].section == "caches"

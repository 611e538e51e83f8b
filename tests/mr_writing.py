"""Writers of public MR layouts."""

import numpy as np

from sidelight.data.phantoms.knee import LABELS, KneePhantom


def mrnet(root, source: KneePhantom, valid: int = 0):
    """A phantom in the layout of MRNet-v1.0; the last ``valid`` exams are its valid side. A stray file lies among them."""
    exams = list(dict.fromkeys(source.items["exam"]))
    sides = {exam: "valid" if place >= len(exams) - valid else "train" for place, exam in enumerate(exams)}
    for position, row in enumerate(source.items.itertuples()):
        path = root / sides[row.exam] / row.view / f"{row.exam.removeprefix('e')}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, source.read(position, 999).frames)
    for label in LABELS:
        known = dict(zip(source.items["exam"], source.items[label], strict=True))
        for side in ("train", "valid"):
            lines = [f"{exam.removeprefix('e')},{known[exam]}\n" for exam in exams if sides[exam] == side]
            (root / f"{side}-{label}.csv").write_text("".join(lines))
    (root / "train" / "axial" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return root


def acdc(root, volumes):
    """ACDC's original layout: ``volumes`` maps a patient to (group, ED frame, ES frame, slices)."""
    import nibabel

    rng = np.random.default_rng(0)
    for patient, (group, ed, es, slices) in volumes.items():
        folder = root / "training" / patient
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text(
            f"ED: {ed}\nES: {es}\nGroup: {group}\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0"
        )
        shape, affine = (20, 24, slices), np.diag([1.5, 1.5, 10.0, 1.0])
        for frame in (ed, es):
            for name in ("", "_gt"):
                image = nibabel.Nifti1Image(rng.integers(0, 4, shape).astype(np.uint8), affine)
                nibabel.save(image, folder / f"{patient}_frame{frame:02d}{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(np.zeros((*shape, 2), np.uint8), affine), folder / f"{patient}_4d.nii.gz")
    return root

"""DICOM files -> headers without identifiers, and series in order."""

"""Items become what a method sees: frames are chosen and mixed, then augmented in batches on the device."""

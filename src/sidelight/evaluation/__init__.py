"""Features once, then one file per protocol; scores of unseen units in, numbers with intervals out.

The package is called ``evaluation`` because ``sidelight.evaluate`` is the public function.
"""

"""Results in files: arrays as they are, structure as text, nothing that runs when it is read."""

from jcausal.storage._file import load as load
from jcausal.storage._file import save as save

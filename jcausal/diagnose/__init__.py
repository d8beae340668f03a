"""Balance."""

from jcausal.diagnose._balance import balance as balance
from jcausal.diagnose._balance import effective_size as effective_size

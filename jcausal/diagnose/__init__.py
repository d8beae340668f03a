"""Balance and overlap of the covariates."""

from jcausal.diagnose._balance import balance as balance
from jcausal.diagnose._balance import effective_size as effective_size
from jcausal.diagnose._describe import describe as describe

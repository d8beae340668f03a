"""Balance and overlap of the covariates."""

from jcausal.diagnostics._balance import balance as balance
from jcausal.diagnostics._balance import effective_size as effective_size
from jcausal.diagnostics._describe import describe as describe

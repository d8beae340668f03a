"""Balance of the covariates, overlap of the arms, methods side by side."""

from jcausal.diagnostics._balance import balance as balance
from jcausal.diagnostics._balance import effective_size as effective_size
from jcausal.diagnostics._compare import compare as compare
from jcausal.diagnostics._compare import usual_methods as usual_methods
from jcausal.diagnostics._describe import describe as describe
from jcausal.diagnostics._propensity import Overlap as Overlap
from jcausal.diagnostics._propensity import overlap as overlap

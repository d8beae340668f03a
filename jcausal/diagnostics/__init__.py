"""Balance of the covariates, overlap of the arms, methods side by side, sensitivity."""

from jcausal.diagnostics._balance import balance as balance
from jcausal.diagnostics._compare import compare as compare
from jcausal.diagnostics._compare import usual_methods as usual_methods
from jcausal.diagnostics._compared import effective_size as effective_size
from jcausal.diagnostics._describe import describe as describe
from jcausal.diagnostics._e_value import EValue as EValue
from jcausal.diagnostics._e_value import EValues as EValues
from jcausal.diagnostics._e_value import e_value as e_value
from jcausal.diagnostics._omitted_bounds import OmittedBounds as OmittedBounds
from jcausal.diagnostics._omitted_variable import OmittedVariable as OmittedVariable
from jcausal.diagnostics._omitted_variable import (
    omitted_variable_bounds as omitted_variable_bounds,
)
from jcausal.diagnostics._overlap import silverman_bandwidth as silverman_bandwidth
from jcausal.diagnostics._overlap import weighted_quantiles as weighted_quantiles
from jcausal.diagnostics._propensity import Overlap as Overlap
from jcausal.diagnostics._propensity import overlap as overlap
from jcausal.diagnostics._rosenbaum_bounds import GammaBounds as GammaBounds
from jcausal.diagnostics._rosenbaum_bounds import RosenbaumBounds as RosenbaumBounds
from jcausal.diagnostics._sample_sizes import sample_sizes as sample_sizes
from jcausal.diagnostics._sensitivity import SensitivityMethod as SensitivityMethod
from jcausal.diagnostics._sensitivity import sensitivity as sensitivity
from jcausal.diagnostics._statistics import STATISTICS as STATISTICS
from jcausal.diagnostics._statistics import Statistic as Statistic
from jcausal.diagnostics._statistics import WeightedColumn as WeightedColumn

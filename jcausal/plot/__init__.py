"""Pictures; each function returns its matplotlib Axes."""

from jcausal.plot._allocation import allocation as allocation
from jcausal.plot._along import along as along
from jcausal.plot._boxes import bounding as bounding
from jcausal.plot._boxes import boxes as boxes
from jcausal.plot._compare import compare as compare
from jcausal.plot._distributions import distribution as distribution
from jcausal.plot._forest import forest as forest
from jcausal.plot._love import love as love
from jcausal.plot._overlap import overlap as overlap
from jcausal.plot._panel import panel as panel
from jcausal.plot._parallel import parallel as parallel
from jcausal.plot._plots import effects as effects
from jcausal.plot._sensitivity import sensitivity as sensitivity
from jcausal.plot._tree import tree as tree

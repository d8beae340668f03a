"""Trees: leaves of controls with a linear regression in each."""

from jcausal.match.tree._leaves import Leaves as Leaves
from jcausal.match.tree._m5_match import M5Match as M5Match
from jcausal.match.tree._m5_model import M5Model as M5Model
from jcausal.match.tree._m5_tree import M5Tree as M5Tree
from jcausal.match.tree._m5_tree import TreeWarning as TreeWarning
from jcausal.match.tree._tree import Tree as Tree
from jcausal.match.tree._words import conditions as conditions
from jcausal.match.tree._words import feature_names as feature_names
from jcausal.match.tree._words import sums_by_leaf as sums_by_leaf

"""Trees: leaves of controls with a linear regression in each."""

from jcausal.matching.trees._leaves import Leaves as Leaves
from jcausal.matching.trees._m5_match import M5Match as M5Match
from jcausal.matching.trees._m5_model import M5Model as M5Model
from jcausal.matching.trees._m5_tree import M5Tree as M5Tree
from jcausal.matching.trees._m5_tree import TreeWarning as TreeWarning
from jcausal.matching.trees._rules import feature_names as feature_names
from jcausal.matching.trees._tree import Tree as Tree
from jcausal.matching.trees._tree import conditions as conditions
from jcausal.matching.trees._tree import sums_by_leaf as sums_by_leaf

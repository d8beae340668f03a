"""Trees: leaves of controls with a linear regression in each."""

from jcausal.match.tree._m5_match import M5Match as M5Match
from jcausal.match.tree._m5_tree import M5Tree as M5Tree
from jcausal.match.tree._m5_tree import TreeWarning as TreeWarning
from jcausal.match.tree._tree import Tree as Tree
from jcausal.match.tree._tree import feature_names as feature_names

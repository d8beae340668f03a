"""Matching: who is compared with whom."""

from jcausal.match._match import make_task as make_task
from jcausal.match._match import match as match
from jcausal.match._match import raise_unusable as raise_unusable
from jcausal.match._matcher import Matcher as Matcher
from jcausal.match._matcher import Progress as Progress
from jcausal.match._matching import Estimand as Estimand
from jcausal.match._matching import MatchError as MatchError
from jcausal.match._matching import Matching as Matching
from jcausal.match._matching import check_same_rows as check_same_rows
from jcausal.match._matching import queries_of as queries_of
from jcausal.match._results import RESULTS as RESULTS
from jcausal.match._results import code as code
from jcausal.match._results import sentence as sentence
from jcausal.match.boxes import Boxes as Boxes
from jcausal.match.boxes import ExactAHB as ExactAHB
from jcausal.match.boxes import FastAHB as FastAHB

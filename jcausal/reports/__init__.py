"""Reports: one HTML file a result, and the tables that it shows of groups."""

from jcausal.reports._average_page import average_page as average_page
from jcausal.reports._group_tables import bounds_table as bounds_table
from jcausal.reports._group_tables import group_table as group_table
from jcausal.reports._render import check_templates as check_templates
from jcausal.reports._render import write_page as write_page
from jcausal.reports._results import Results as Results
from jcausal.reports._results import measure as measure
from jcausal.reports._sensitivity_words import sensitivity_words as sensitivity_words
from jcausal.reports._verb import report as report
from jcausal.reports._verb import report_of_results as report_of_results
from jcausal.reports._wording import Request as Request
from jcausal.reports._wording import Wording as Wording

"""Samples, frames in, honest splits."""

from jcausal.data._assemble import level_label as level_label
from jcausal.data._columns import observed_means as observed_means
from jcausal.data._columns import readable_columns as readable_columns
from jcausal.data._errors import DataError as DataError
from jcausal.data._errors import HonestyError as HonestyError
from jcausal.data._like import FrameKind as FrameKind
from jcausal.data._like import beside_covariates as beside_covariates
from jcausal.data._like import like as like
from jcausal.data._read import Column as Column
from jcausal.data._read import open_frame as open_frame
from jcausal.data._read import read_column as read_column
from jcausal.data._sample import Sample as Sample
from jcausal.data._schema import Schema as Schema
from jcausal.data._shapes import bucket as bucket
from jcausal.data._shapes import first_rows as first_rows
from jcausal.data._shapes import is_traced as is_traced
from jcausal.data._shapes import pad_rows as pad_rows
from jcausal.data._split import as_key as as_key
from jcausal.data._split import check_honest as check_honest
from jcausal.data._split import deal as deal
from jcausal.data._split import hold_out as hold_out
from jcausal.data._split import row_draws as row_draws
from jcausal.data._split import split as split
from jcausal.data._split import step_key as step_key
from jcausal.data._words import number_in_words as number_in_words
from jcausal.data._words import rows_in_words as rows_in_words

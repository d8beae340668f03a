"""The `jcausal` command."""

from jcausal.cli._main import main as main
from jcausal.cli._methods import METHODS as METHODS
from jcausal.cli._terminal import Bar as Bar
from jcausal.cli._write import write_whole as write_whole

"""The `jcausal` command."""

from jcausal.cli._files import write_whole as write_whole
from jcausal.cli._main import main as main
from jcausal.cli._terminal import Bar as Bar

"""Average effects without a matching."""

from jcausal.effects.estimators._aipw import AIPW as AIPW

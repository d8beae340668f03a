# Golden file for the tests of jc.balance, made once.
#
# Made with R 4.2.2 and MatchIt 4.5.1 (Debian bookworm); jsonlite writes the file. Run from the
# repository root:
#
#     Rscript tests/goldens/make_balance.R ../shared/data tests/goldens/balance.json.gz
#
# Of each matching of lalonde_matchit.csv the weights (in the order of the file) and what summary()
# says of them, squares and interactions included. Binaries are standardised there. Nothing of the
# data is stored.

suppressMessages({library(MatchIt); library(jsonlite)})
arguments <- commandArgs(trailingOnly = TRUE)
stopifnot(length(arguments) == 2)

lalonde <- read.csv(file.path(arguments[1], "lalonde_matchit.csv"))
lalonde$race <- factor(lalonde$race)
formula <- treat ~ age + educ + race + married + nodegree + re74 + re75

told <- function(...) {
  found <- suppressWarnings(matchit(formula, lalonde, ...))
  said <- summary(found, interactions = TRUE, pair.dist = FALSE)
  frame <- function(table) lapply(as.data.frame(table), unname)
  list(
    estimand = found$estimand, weight = unname(found$weights), rows = rownames(said$sum.all),
    before = frame(said$sum.all), after = frame(said$sum.matched),
    sizes = as.list(as.data.frame(t(said$nn)))
  )
}
matched <- list(
  nearest = told(method = "nearest", distance = "mahalanobis"),
  replaced = told(method = "nearest", distance = "mahalanobis", replace = TRUE, ratio = 2),
  coarsened = told(method = "cem", estimand = "ATE")
)
versions <- list(R = R.version.string, MatchIt = as.character(packageVersion("MatchIt")))
text <- toJSON(c(list(versions = versions), matched), auto_unbox = TRUE, digits = I(17), na = "null")
connection <- gzfile(arguments[2], "w", compression = 9)
writeLines(text, connection)
close(connection)

# Golden files for the tests of matching methods, made once.
#
# Made with R 4.2.2, MatchIt 4.5.1, Matching 4.10-8 and rgenoud 5.9-0.3 (Debian bookworm); jsonlite
# writes the files. Run from the repository root:
#
#     Rscript tests/goldens/make_matching.R ../shared/data tests/goldens/matching
#
# The first argument is the folder with lalonde_matchit.csv and gerber_green_imai.csv.gz, the second
# the folder to write to. Nothing of the data is stored: indices of rows (from 0, in the order of the
# file) and numbers computed from them. -1 stands for no match.

suppressMessages({library(MatchIt); library(Matching); library(jsonlite)})
arguments <- commandArgs(trailingOnly = TRUE)
stopifnot(length(arguments) == 2)
data_folder <- arguments[1]
out_folder <- arguments[2]

versions <- list(
  R = R.version.string,
  MatchIt = as.character(packageVersion("MatchIt")),
  Matching = as.character(packageVersion("Matching")),
  rgenoud = as.character(packageVersion("rgenoud"))
)

save_golden <- function(name, content, zip = FALSE) {
  text <- toJSON(c(list(versions = versions), content), auto_unbox = TRUE, digits = I(17), na = "null")
  path <- file.path(out_folder, paste0(name, if (zip) ".json.gz" else ".json"))
  connection <- if (zip) gzfile(path, "w", compression = 9) else file(path, "w")
  writeLines(text, connection)
  close(connection)
}

lalonde <- read.csv(file.path(data_folder, "lalonde_matchit.csv"))
lalonde$id <- NULL
lalonde$race <- factor(lalonde$race)
rownames(lalonde) <- as.character(seq_len(nrow(lalonde)) - 1)  # names are the rows, from 0
formula <- treat ~ age + educ + race + married + nodegree + re74 + re75
words <- "treat ~ age + educ + race + married + nodegree + re74 + re75"

# ---- propensity scores ----------------------------------------------------------------------
model <- glm(formula, data = lalonde, family = binomial, control = list(epsilon = 1e-14, maxit = 100))
score <- matchit(formula, lalonde, method = NULL, distance = "glm")$distance
save_golden("propensity", list(
  formula = words,
  coefficients = as.list(coef(model)),
  converged_score = unname(fitted(model)),
  converged_linear = unname(predict(model)),
  matchit_score = unname(score)  # at glm's own tolerance: what MatchIt matches on
))

# ---- distances ------------------------------------------------------------------------------
some <- c(1:3, 186:190)
# (robust_mahalanobis_dist of MatchIt 4.5.1 stops with an error of its own: its matches stand below.)
distances <- list(
  mahalanobis = mahalanobis_dist(formula, lalonde),
  scaled_euclidean = scaled_euclidean_dist(formula, lalonde),
  euclidean = euclidean_dist(formula, lalonde)
)
save_golden("distances", list(
  formula = words, treated = 0:2, controls = 0:4,
  corner = lapply(distances, function(d) unname(d[1:3, 1:5])),
  row_means = lapply(distances, function(d) unname(rowMeans(d))),
  column_means = lapply(distances, function(d) unname(colMeans(d)))
), zip = TRUE)

# ---- nearest neighbours ---------------------------------------------------------------------
# Debian's build of MatchIt 4.5.1 truncates differences of a propensity vector to whole numbers, so that
# distance = "glm" neither takes the nearest unit nor keeps its caliper (three such matches are kept
# under "truncated"). With mahvars = ~ score it goes the way of distance matrices, which is right: the
# one-dimensional Mahalanobis distance is |difference of scores| / sd, and the caliper holds.
# Its robust_mahalanobis stops with an error: the distance of Rosenbaum (2010, ch. 8) is made here from
# the ranks, and handed over as a matrix.
lalonde$score <- unname(score)
lalonde$linear <- qlogis(lalonde$score)
pairs_of <- function(found) {
  rows <- matrix(as.integer(found$match.matrix), nrow(found$match.matrix))
  rows[is.na(rows)] <- -1L
  list(focal = as.integer(rownames(found$match.matrix)), rows = rows)
}
nearest <- list()
match_nearest <- function(name, ...) {
  found <- suppressWarnings(matchit(formula, lalonde, method = "nearest", ...))  # too few controls
  nearest[[name]] <<- pairs_of(found)
  if (!is.null(found$caliper)) {
    names(found$caliper)[names(found$caliper) == ""] <- "distance"
    nearest[[name]]$caliper <<- as.list(found$caliper)
  }
}
ranks <- sapply(as.data.frame(model.matrix(~ age + educ + race + married + nodegree + re74 + re75,
                                           lalonde)[, -1]), rank)
untied <- sqrt(var(seq_len(nrow(ranks))) / diag(cov(ranks)))
inverse <- solve(diag(untied) %*% cov(ranks) %*% diag(untied))
treated <- lalonde$treat == 1
robust <- t(apply(ranks[treated, ], 1, function(row) sqrt(mahalanobis(ranks[!treated, ], row, inverse,
                                                                      inverted = TRUE))))
dimnames(robust) <- list(rownames(lalonde)[treated], rownames(lalonde)[!treated])
links <- list(score = list(mahvars = ~ score), linear = list(mahvars = ~ linear, link = "linear.logit"))
metrics <- list(mahalanobis = "mahalanobis", scaled_euclidean = "scaled_euclidean",
                euclidean = "euclidean", robust_mahalanobis = robust)
for (ratio in c(1, 3)) {
  for (kind in names(links)) {
    how <- c(links[[kind]], list(ratio = ratio))
    do.call(match_nearest, c(paste(kind, "replace", ratio), how, list(replace = TRUE)))
    for (order in c("largest", "smallest", "data"))
      do.call(match_nearest, c(paste(kind, order, ratio), how, list(m.order = order)))
  }
  for (kind in names(metrics)) {
    match_nearest(paste(kind, "replace", ratio), distance = metrics[[kind]], ratio = ratio,
                  replace = TRUE)
    match_nearest(paste(kind, "default", ratio), distance = metrics[[kind]], ratio = ratio)
  }
}
score_only <- ~ score
match_nearest("score caliper", mahvars = score_only, caliper = .2)
match_nearest("score caliper 3", mahvars = score_only, caliper = .2, ratio = 3)
match_nearest("score caliper replace", mahvars = score_only, caliper = .2, replace = TRUE)
match_nearest("score caliper raw", mahvars = score_only, caliper = .02, std.caliper = FALSE)
match_nearest("linear caliper", mahvars = ~ linear, link = "linear.logit", caliper = .2)
match_nearest("score caliper age", mahvars = score_only, caliper = c(.2, age = .5))
match_nearest("score exact", mahvars = score_only, exact = ~ race)
match_nearest("score exact 3", mahvars = score_only, exact = ~ race, ratio = 3)
match_nearest("score exact replace", mahvars = score_only, exact = ~ race, replace = TRUE)
match_nearest("score exact two", mahvars = score_only, exact = ~ race + married)
match_nearest("score caliper exact", mahvars = score_only, caliper = .2, exact = ~ race)
match_nearest("score caliper exact replace", mahvars = score_only, caliper = .2, exact = ~ race,
              replace = TRUE)
match_nearest("score atc", mahvars = score_only, estimand = "ATC")
match_nearest("score atc replace", mahvars = score_only, estimand = "ATC", replace = TRUE)
match_nearest("mahalanobis exact", distance = "mahalanobis", exact = ~ race)
match_nearest("mahalanobis exact replace", distance = "mahalanobis", exact = ~ race, replace = TRUE)
all_of_them <- ~ age + educ + race + married + nodegree + re74 + re75
match_nearest("mahalanobis caliper", mahvars = all_of_them, caliper = .2)
match_nearest("mahalanobis caliper replace", mahvars = all_of_them, caliper = .2, replace = TRUE)
match_nearest("mahalanobis atc replace", distance = "mahalanobis", estimand = "ATC", replace = TRUE)
sound <- nearest
nearest <- list()
match_nearest("glm largest 1")
match_nearest("glm replace 1", replace = TRUE)
match_nearest("linear caliper", link = "linear.logit", caliper = .2)
save_golden("nearest", list(formula = words, matches = sound, truncated = nearest), zip = TRUE)

# ---- coarsened exact matching ---------------------------------------------------------------
strata_of <- function(found) list(
  stratum = ifelse(is.na(found$subclass), -1L, as.integer(found$subclass)),
  weight = unname(found$weights)
)
cem <- function(...) strata_of(matchit(formula, lalonde, method = "cem", ...))
edges <- list(age = c(20, 25, 30, 40), educ = c(8.5, 11.5), re74 = c(1, 5000, 10000),
              re75 = c(1, 5000, 10000), married = c(.5, 2), nodegree = c(.5, 2))
numeric <- c("age", "educ", "married", "nodegree", "re74", "re75")
each <- function(rule) sapply(numeric, function(name) rule, simplify = FALSE)
binned <- list(
  sturges = cem(),
  sturges_ate = cem(estimand = "ATE"),
  sturges_atc = cem(estimand = "ATC"),
  scott = cem(cutpoints = each("scott")),
  fd = cem(cutpoints = each("fd")),
  q5 = cem(cutpoints = list(age = "q5", educ = "q5", re74 = "q5", re75 = "q5")),
  six = cem(cutpoints = 6),
  edges = cem(cutpoints = edges)
)
bins <- lapply(c(lalonde[numeric], list(hispan = as.numeric(lalonde$race == "hispan"))), function(column) list(
  sturges = nclass.Sturges(column), scott = nclass.scott(column), fd = nclass.FD(column)
))
save_golden("cem", list(formula = words, strata = binned, edges = edges, bins = bins), zip = TRUE)

# ---- subclasses of the propensity score -----------------------------------------------------
y <- lalonde$re78
t <- lalonde$treat == 1
subclasses <- function(...) {
  found <- matchit(formula, lalonde, method = "subclass", ...)
  weight <- found$weights
  c(strata_of(found), list(
    cuts = unname(found$q.cut),
    estimate = weighted.mean(y[t], weight[t]) - weighted.mean(y[!t], weight[!t])
  ))
}
save_golden("subclass", list(formula = words, outcome = "re78", subclasses = list(
  default = subclasses(), six = subclasses(subclass = 6), ten = subclasses(subclass = 10),
  twenty = subclasses(subclass = 20), ten_bare = subclasses(subclass = 10, min.n = 0),
  ate = subclasses(estimand = "ATE"), atc = subclasses(estimand = "ATC")
)), zip = TRUE)

# ---- Matching::Match ------------------------------------------------------------------------
x <- with(lalonde, cbind(age, educ, black = race == "black", hispan = race == "hispan", married,
                         nodegree, re74, re75))
match_of <- function(...) {
  found <- Match(...)
  list(
    estimate = c(found$est), se = if (is.null(found$se)) NA else found$se, se_standard = found$se.standard,
    treated = found$index.treated - 1L, control = found$index.control - 1L,
    weight = found$weights, dropped = length(found$index.dropped), used = found$wnobs
  )
}
set.seed(1)
inputs <- list(covariates = x, propensity = fitted(model), linear = predict(model))
matched <- list()
for (input in names(inputs)) for (weight in if (input == "covariates") 1:2 else 1)
  for (ties in c(TRUE, FALSE)) for (adjust in c(FALSE, TRUE)) {
    name <- paste(input, c("inverse variance", "mahalanobis")[weight], if (ties) "ties" else "no ties",
                  if (adjust) "adjusted" else "plain")
    matched[[name]] <- match_of(Y = y, Tr = t, X = inputs[[input]], Weight = weight, ties = ties,
                                BiasAdjust = adjust, version = "standard")
  }
matched[["covariates inverse variance ties plain ate"]] <- match_of(Y = y, Tr = t, X = x, estimand = "ATE")
matched[["covariates inverse variance ties adjusted ate"]] <-
  match_of(Y = y, Tr = t, X = x, estimand = "ATE", BiasAdjust = TRUE)
matched[["covariates inverse variance ties adjusted atc"]] <-
  match_of(Y = y, Tr = t, X = x, estimand = "ATC", BiasAdjust = TRUE)
matched[["covariates inverse variance ties adjusted 4"]] <-
  match_of(Y = y, Tr = t, X = x, M = 4, BiasAdjust = TRUE)
matched[["covariates inverse variance ties adjusted 4 robust"]] <-
  match_of(Y = y, Tr = t, X = x, M = 4, BiasAdjust = TRUE, Var.calc = 4)
matched[["linear caliper"]] <- match_of(Y = y, Tr = t, X = predict(model), caliper = .2)
matched[["linear without replacement"]] <-
  match_of(Y = y, Tr = t, X = predict(model), replace = FALSE, ties = FALSE)
save_golden("match_lalonde", list(
  outcome = "re78", covariates = colnames(x), matches = matched
), zip = TRUE)

votes <- read.csv(file.path(data_folder, "gerber_green_imai.csv.gz"))
votes$WARD <- factor(votes$WARD)
call <- PHN_C1 ~ PERSONS + VOTE96_1 + NEW + MAJORPTY + AGE + WARD + PERSONS:VOTE96_1 + PERSONS:NEW + AGE2
called <- glm(call, data = votes, family = binomial)
gerber <- Match(Y = votes$VOTED98, Tr = votes$PHN_C1, X = fitted(called), estimand = "ATT", M = 1,
                ties = TRUE)
save_golden("match_gerber", list(
  formula = "PHN_C1 ~ PERSONS + VOTE96_1 + NEW + MAJORPTY + AGE + C(WARD) + PERSONS:VOTE96_1 + PERSONS:NEW + AGE2",
  outcome = "VOTED98", score_of_treated = unname(fitted(called)[votes$PHN_C1 == 1]),
  score_mean = mean(fitted(called)), score_sd = sd(fitted(called)),
  estimate = c(gerber$est), se = gerber$se, se_standard = gerber$se.standard,
  drops = gerber$ndrops, matches = length(gerber$index.treated), observations = gerber$orig.nobs,
  treated_observations = gerber$orig.treated.nobs
))

# ---- Matching::GenMatch ---------------------------------------------------------------------
set.seed(7)
balance_formula <- treat ~ age + educ + black + hispan + married + nodegree + re74 + re75
wide <- data.frame(treat = lalonde$treat, x)
genetic <- function(ties, replace) {
  seconds <- system.time(
    found <- GenMatch(Tr = t, X = x, estimand = "ATT", M = 1, pop.size = 100, max.generations = 10,
                      wait.generations = 4, unif.seed = 3392, int.seed = 8282, print.level = 0,
                      ties = ties, replace = replace)
  )[["elapsed"]]
  balance <- function(match) MatchBalance(balance_formula, data = wide, match.out = match,
                                          nboots = 0, print.level = 0)
  after <- Match(Y = y, Tr = t, X = x, estimand = "ATT", M = 1, Weight.matrix = found, ties = ties,
                 replace = replace)
  plain <- Match(Y = y, Tr = t, X = x, estimand = "ATT", M = 1, Weight = 2, ties = ties,
                 replace = replace)
  ours <- balance(after)
  list(ties = ties, replace = replace, p_values = sort(found$value), weights = found$par,
       smallest_p = ours$AMsmallest.p.value, smallest_p_before = ours$BMsmallest.p.value,
       smallest_p_mahalanobis = balance(plain)$AMsmallest.p.value,
       estimate = c(after$est), se_standard = after$se.standard, matches = length(after$index.treated),
       seconds = seconds)
}
save_golden("genmatch", list(
  covariates = colnames(x), pop.size = 100, max.generations = 10, wait.generations = 4,
  unif.seed = 3392, int.seed = 8282, runs = list(
    with_replacement = genetic(TRUE, TRUE), without_replacement = genetic(FALSE, FALSE)
  )
))

# ---- the time of a larger match -------------------------------------------------------------
# x_ij = qnorm(frac(i sqrt(p_j))), i = 1 .. 20000 and p_j the first ten primes; treated are the 3,087
# units with the largest .5 x_i1 + .5 x_i2 + qnorm(frac(i sqrt(31))).
i <- seq_len(20000)
primes <- c(2, 3, 5, 7, 11, 13, 17, 19, 23, 29)
normal <- function(prime) qnorm((i * sqrt(prime)) %% 1)
large <- sapply(primes, normal)
pull <- .5 * large[, 1] + .5 * large[, 2] + normal(31)
large <- data.frame(large, treat = as.integer(rank(-pull) <= 3087))
large_formula <- reformulate(names(large)[1:10], "treat")
seconds <- function(...) system.time(found <<- matchit(large_formula, large, method = "nearest", ...))[["elapsed"]]
found <- NULL
times <- list(mahalanobis = seconds(distance = "mahalanobis"))
index <- as.integer(found$match.matrix) - 1L
times$glm <- seconds(distance = "glm")
times$glm_replace <- seconds(distance = "glm", replace = TRUE)
times$mahalanobis_replace <- seconds(distance = "mahalanobis", replace = TRUE)
save_golden("times", list(
  units = 20000, treated = sum(large$treat), machine = "2 cores, busy",
  data = "x_ij = qnorm(frac(i sqrt(p_j))), i from 1, p_j the first ten primes; treated: the 3087 largest .5 x_1 + .5 x_2 + qnorm(frac(i sqrt(31)))",
  seconds = times, mahalanobis_rows = index
), zip = TRUE)

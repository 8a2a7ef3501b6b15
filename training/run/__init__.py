"""What a run is made of beside its loop, which stands in BERT_main_aggressive.py.

team.py             several processes that train one model
folder.py           the Place: where the results go
data.py             the Data: rows, classes, batches
temperature.py      probabilities that mean something
testing.py          the test rows, which choose nothing
baseline.py         what a score has to be held against
optimization.py     the Learner: model, optimizer, schedule, precision
tally.py            what an epoch sums up, and flags of numbers gone wrong
state.py            the Progress, saved and gone on from
results.py          what each epoch leaves in the folder
ensemble.py         the means over several epochs
process.py          what a run sets for its whole process
screen.py           what is said on the screen
interruption.py     Ctrl-C and SIGTERM
trouble.py          what can go wrong, in one line for people
folds.py            cross-validation
trials.py           several runs, one after the other
search.py           runs drawn from ranges, within a budget
"""

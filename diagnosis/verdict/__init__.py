"""From the record of a run to what its user reads, in the order in which data flows.

measures.py     labels, outputs and texts, read off a record
course.py       the same for steps, losses, rates and schedules, over the whole plan
scored.py       what the script held against labels, and the doctor's own score
finding.py      what a check may answer (the checks themselves are in faults/)
judge.py        every check on one record, the findings in order of cause: the Judgement
outcome.py      does the run learn? told from what was measured alone
conclusion.py   what record and findings come to, for the Judgement: the verdict, whether the labels are learnable
tables.py       the figures of a run as tables
pictures.py     the gradient by layer and the learning rate, drawn
report.py       the screen, report.json, report.md
"""

"""The doctor: why does this fine-tuning run not learn? Its rooms, in the order in which the data flow:

observe/        watches a script train
record/         what is written down, facts alone, and how it is read off live objects and sources
experiments/    small controlled experiments on copies of the live objects: data, model or optimization?
faults/         one file per fault: its check on a record, and its explanation
verdict/        every check on one record, findings in order of cause; the screen and the reports
cures/          the script again with one thing mended: does it learn then?

examine.py      one examination from start to end: runs child.py, watches the time, judges, tries the cures, reports
processes.py    the processes of the script: started, waited for, ended with all that they started
child.py        what runs in them: observe, record and experiments together, or a trial
look.py         the part that needs no training, for a script's own look before its first epoch

Imports go one way: record knows no other room, observe knows record alone; child.py alone joins what was seen with the
experiments and the changes of a cure. A fault's file says by cures/mends.py what would mend it.
"""

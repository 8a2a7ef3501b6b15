"""report.html, the page of a run.

scores.py       figures and what they are worth
drawings.py     curves, calibration, lengths as SVG
page.py         the page, from the template page.html
card.py         the card of a saved model, from the template card.md
"""

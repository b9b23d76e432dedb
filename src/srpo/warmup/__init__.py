"""Cold start: supervised steps on formatted, correct replies, for a model that does not follow the response format.

demonstrations.py   replies from true perception, and what makes a reply fit to be shown to a model
sampling.py         replies of the model itself, in seeded batches, split over processes
rejection.py        of these, the ones to keep
training.py         TRL's SFTTrainer on demonstrations, and one model folder at the end
"""

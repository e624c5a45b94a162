"""What layers below the pages say in English, as far as pages show it: listed for translation.

Those layers talk to programs too, which read English whatever the reader's language is; so what
they say is translated where it is shown, by `said` or by `{% translate variable %}`.
"""

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _


def said(text: str | None) -> str:
    return gettext(text or "")


# States and verdicts.
STATES = (
    _("running"),
    _("finished"),
    _("failed"),
    _("draft"),
    _("active"),
    _("collecting"),
    _("open"),
    _("closed"),
    _("cancelled"),
    _("published"),
    _("ok"),
    _("watch"),
    _("hold"),
    _("pass"),
    _("fail"),
    _("undecided"),
    _("uploaded"),
    _("done"),
    _("upheld"),
    _("dismissed"),
    _("withdrawn"),
    _("measuring"),
    _("waiting"),
)

# What labels can be given to, where a rule weighs it itself.
PARTS = (
    _("recall"),
    _("fpr"),
    _("accuracy"),
    _("hack rate"),
)

# Why a reward table changes nothing.
NO_OPS = (
    _(
        "within every group its rewards follow the verdict alone,"
        " and dividing by the group's standard deviation takes such a map out"
    ),
    _("in every group all rollouts have the same verdict and the same reward"),
    _("in every group the rewards make the same advantages as the verdicts do"),
)

# Why something is not estimated.
REASONS = (
    _("too few labels"),
    _("no rollout in the denominator"),
    _("no correct rollout among the labels"),
    _("no incorrect rollout among the labels"),
    _("the queue does not ask for it"),
    _("some windows' queues do not ask for it"),
    _("the steps of too few right answers are judged"),
    _("no wrong step among the labels"),
    _("no faultless rollout among the labels"),
    _("the criterion is answered for too few of the labels"),
    _("no labelled rollout meets the criterion"),
    _("every labelled rollout meets the criterion"),
    _("no queue's rubric has a criterion of this name"),
    _("the verifier judges no criterion of this name"),
    _("fewer than two windows"),
    _("fewer than three windows"),
    _("all windows at one step"),
    _("no correct rollout expected among the labels"),
    _("no incorrect rollout expected among the labels"),
    _("no item was rated twice"),
    _("no variation"),
    _("No wave of an audit is labelled yet."),
)

# Why somebody is asked about a rollout, and why they passed on it.
CAUSES = (
    _("drawn"),
    _("picked on purpose"),
    _("random second review"),
    _("second review of a contradiction"),
    _("third review of a disagreement"),
    _("asked again by a lead"),
    _("known answer"),
    _("I cannot make sense of it"),
    _("Not my field"),
    _("The page does not show it properly"),
    _("Something else"),
)

# Why a rollout is not asked again.
NOT_AGAIN = (
    _("Its text is gone: nobody could judge it."),
    _("It is in no sample of this queue: pick it instead."),
    _("A review of it is still to come."),
    _("Its answer class settles it."),
    _("It is adjudicated: a further label would change nothing."),
    _("Everybody who may review it has answered it already."),
)

# What an error says that is raised without words of its own: its docstring.
ERRORS = (
    _("The server does not judge with this verifier while a caller waits."),
    _("A later version of this reward table is published: build a new one."),
    _("The published reward table is of another version of this software: publish a new one."),
    _("A token needs at least one scope, and each must be one that exists."),
    _("The owner of a token must hold the role that its scopes need."),
    _("A member needs at least one role, and each must be one that exists."),
    _("This person is not in the project."),
    _("A project keeps at least one admin: make somebody else one first."),
    _("Another project has this short name."),
    _("Somebody else has this name: choose another."),
    _("This invitation is not open: it was used, taken back, or has expired."),
    _("Too many failed sign-ins: wait a while and try again."),
    _("This account is closed."),
    _("There is no label of a closed wave yet: nothing to build a reward table from."),
    _("No reward table of this run is published (or none of this version)."),
    _("The reward table cannot be built as asked."),
    _("Rewards may steer what is labelled once chance has drawn enough labels."),
    _("Something was refused."),
    _("The input breaks a rule."),
    _("There is no such thing, or it is not yours to see."),
    _("The state of the thing does not allow this."),
    _("Your lease on this item has passed on; take the next one."),
    _("A label can be taken back for a short while, and only until your next one."),
    _("This client key belongs to the label of another item."),
    _("The label contradicts itself or the item."),
    _("These labels cannot be settled by you, or need no settling."),
    _("This queue asks for practice first: pass it, then you are served."),
    _("You are paused in this queue until a lead has talked with you."),
    _("The queue cannot be set up like this."),
    _("Somebody has answered an item of this queue, or holds one: what it asks stays as it is."),
    _("What you read has changed meanwhile; nothing of your decision is stored."),
    _("This rollout cannot be asked again."),
    _("You may still be asked about this rollout elsewhere: until then this is kept from you."),
    _("This is not the practice item that you are asked now."),
    _("A group must be whole in one batch: one prompt, one step, all its rollouts."),
    _("The run has said that this step is complete: its frame is fixed."),
    _("The verdicts tell too many kinds of rollouts apart: path and form are a few fixed words."),
    _("A uid stands twice in the batch."),
    _("The slice's conditions break a rule."),
    _("The project has a slice of this name."),
    _("The slice is in use: what is said of it would lose its meaning."),
    _("The source's steps, one after the other, are all that the assistant wrote."),
    _("The run has no rollout of this uid."),
    _("The file is of no format that can be imported."),
    _("The mapping names columns or values that do not fit."),
    _("The import is not in a state that allows this."),
    _("The uploaded file is gone: upload it again."),
    _("A prompt of this uid is stored with another text or other references."),
    _("A run of this uid is registered with other settings."),
    _("A rollout names a prompt that was not sent."),
    _("The run has ended: register a new one for new rollouts."),
    _("A completed step cannot be taken back."),
    _("There is no such way to cut a completion into steps."),
    _("A process verifier has named wrong steps by their numbers, which would not hold any more."),
    _("The server does not know this answer normaliser."),
    _("An erratum is decided with a reason."),
    _("This erratum waits for no decision any more."),
    _("The audit rule cannot be met as it stands."),
    _("The audit rule is not in a state that allows this."),
    _("A verifier of this name and version is known with another channel, or the run has others."),
    _("A verdict names a verifier that the run did not register."),
    _("Each correctness verifier of the run must have judged each rollout."),
    _("A monitor has no part in a reward: optimising against it teaches the policy to hide."),
    _("The verifier cannot be built like this."),
    _("This verifier does not run here."),
    _("The replay is not in a state that allows this."),
    _("This rollout cannot be made an attack of the suite."),
)

# And the words that it is raised with.
REFUSALS = (
    _("There is no such reward table in this project."),
    _("The import has not been started."),
    _("A verdict is about a rollout that the run does not have."),
    _("A verifier judged the same rollout twice."),
    _("There is no such item among those that you may decide about."),
    _("There is no such queue among those that you review."),
    _("There is no such queue in this project."),
    _("There is no such item in your queues."),
    _("There is no such label among yours."),
    _("Nothing disagrees here: there is nothing to settle."),
    _("One of these labels is yours: somebody else must decide."),
    _("There is nothing to show of this label."),
    _("The file is empty."),
    _("The file is compressed by gzip. Unpack it first."),
    _("A zip file that is no Inspect log. Unpack it first."),
    _("The archive holds too many files."),
    _("The file is not a valid zip archive."),
    _("There is no such import in this project."),
    _("There is no such slice in this project."),
    _("There is no such run in this project."),
    _("There is no such run among those that you lead."),
    _("There is no such audit in this project."),
    _("There is no such window in this project."),
    _("Rollouts can be picked while the audit is going on."),
    _("This audit is finished: nothing more is drawn. Write a new one."),
    _("Somebody else has changed this audit meanwhile: look at it again."),
    _("This audit has been started already."),
    _("A verifier is named twice."),
    _("There is no such project among those that you lead."),
    _("There is no such project among those that you administer."),
    _("There is no such project among those that you lead or administer."),
    _("There is no such person in this project."),
    _("There is no such invitation to the projects that you administer."),
    _("There is no such audit among those that you lead."),
    _("There is no such window in the audits that you lead."),
    _("There is no such wave in the audits that you lead."),
    _("There is no such rollout in this run."),
    _("There is no such import in the projects that you lead."),
    _("There is no such slice in the projects that you lead."),
    _("There is no such reward table among those that you lead."),
    _("There is no such token in the projects that you lead."),
    _("There is no such queue in the audits that you lead."),
    _("There is no such project among those in which you decide."),
    _("There is no such pause in the queues that you lead."),
    _("There is no such erratum in the projects that you lead."),
    _("There is no such number on this run's scorecard."),
    _("There is no such replay in this project."),
    _("There is no such replay in the projects that you lead."),
    _("There is no such verifier in the projects that you lead."),
    _("The record of what a judge said is too large."),
    _("This verifier runs elsewhere: its verdicts are sent."),
    _("No attack of the suite is meant for this verifier, or it does not run here."),
)

# What is wrong with a field.
FIELDS = (
    _("0 or later"),
    _("at least 1"),
    _("not before the first step"),
    _("all of this run"),
    _("correctness verifiers only"),
    _("a ranking needs at least two"),
    _("reviewers of this project only"),
    _("second reviews need at least two reviewers: add one, or switch them off"),
    _("slices of this project only"),
    _("the run has no rollouts in these steps"),
    _("not before valid_from_step"),
    _("at least one"),
    _("is taken"),
    _("is required"),
    _("say why"),
    _("say what you would answer now, and why"),
    _("gold is correct or incorrect"),
    _("is fixed from the first answer on"),
    _("label needs a reviewer, other scopes a lead"),
)

"""Who may open what. Each function returns the object, or says that there is no such thing."""

from uuid import UUID

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from review.accounts.models import Invitation, Project, Role, ServiceToken, User
from review.accounts.queries import Member, has_role, member_of, roles_in
from review.calibration.models import RewardTable
from review.core.errors import MissingError
from review.labeling.adjudications import item_to_adjudicate, may_adjudicate
from review.labeling.models import Assignment, Label, Pause, Queue
from review.labeling.queries import assignment_of_reviewer, queue_of_reviewer
from review.labeling.reveals import own_label
from review.rollouts.models import Import, Rollout, Slice
from review.runs.models import Erratum, Run
from review.runs.queries import run_of_lead
from review.sampling.models import AuditRule, Wave, Window
from review.verifiers.models import Replay, VerifierVersion

ROLLOUT_PARTS = ("run__project", "group__prompt", "policy", "cell")


class ReviewRequest(HttpRequest):
    """A request of someone who is signed in."""

    user: User
    htmx: HtmxDetails


def project_led(user: User, slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None or not has_role(user, project, Role.LEAD):
        raise MissingError("There is no such project among those that you lead.")
    return project


def project_administered(user: User, slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None or not has_role(user, project, Role.ADMIN):
        raise MissingError("There is no such project among those that you administer.")
    return project


def project_led_or_administered(user: User, slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None or roles_in(user, project).isdisjoint({Role.LEAD, Role.ADMIN}):
        raise MissingError("There is no such project among those that you lead or administer.")
    return project


def member_administered(user: User, slug: str, member_id: int) -> tuple[Project, Member]:
    project = project_administered(user, slug)
    member = member_of(project, member_id)
    if member is None:
        raise MissingError("There is no such person in this project.")
    return project, member


def invitation_administered(user: User, invitation_id: UUID) -> Invitation:
    found = Invitation.objects.filter(pk=invitation_id).select_related("project").first()
    if found is None or not has_role(user, found.project, Role.ADMIN):
        raise MissingError("There is no such invitation to the projects that you administer.")
    return found


def projects_made(user: User) -> None:
    """Projects are made by staff."""
    if not user.is_staff:
        raise MissingError


def run_led(user: User, run_id: UUID) -> Run:
    return run_of_lead(user, run_id)


def audit_led(user: User, audit_id: UUID) -> AuditRule:
    rule = AuditRule.objects.filter(pk=audit_id).select_related("run__project").first()
    if rule is None or not has_role(user, rule.run.project, Role.LEAD):
        raise MissingError("There is no such audit among those that you lead.")
    return rule


def window_led(user: User, window_id: UUID) -> Window:
    window = Window.objects.filter(pk=window_id).select_related("rule__run__project").first()
    if window is None or not has_role(user, window.rule.run.project, Role.LEAD):
        raise MissingError("There is no such window in the audits that you lead.")
    return window


def wave_led(user: User, wave_id: int) -> Wave:
    wave = Wave.objects.filter(pk=wave_id).select_related("window__rule__run__project").first()
    if wave is None or not has_role(user, wave.window.rule.run.project, Role.LEAD):
        raise MissingError("There is no such wave in the audits that you lead.")
    return wave


def rollout_led(user: User, run_id: UUID, rollout_id: int) -> Rollout:
    run = run_of_lead(user, run_id)
    rollout = run.rollouts.filter(pk=rollout_id).select_related(*ROLLOUT_PARTS).first()
    if rollout is None:
        raise MissingError("There is no such rollout in this run.")
    return rollout


def import_led(user: User, import_id: UUID) -> Import:
    found = Import.objects.filter(pk=import_id).select_related("project", "run").first()
    if found is None or not has_role(user, found.project, Role.LEAD):
        raise MissingError("There is no such import in the projects that you lead.")
    return found


def replay_led(user: User, replay_id: UUID) -> Replay:
    rows = Replay.objects.filter(pk=replay_id).select_related("run__project", "verifier")
    replay = rows.first()
    if replay is None or not has_role(user, replay.run.project, Role.LEAD):
        raise MissingError("There is no such replay in the projects that you lead.")
    return replay


def verifier_led(user: User, verifier_id: int) -> VerifierVersion:
    verifier = VerifierVersion.objects.filter(pk=verifier_id).select_related("project").first()
    if verifier is None or not has_role(user, verifier.project, Role.LEAD):
        raise MissingError("There is no such verifier in the projects that you lead.")
    return verifier


def slice_led(user: User, slice_id: UUID) -> Slice:
    found = Slice.objects.filter(pk=slice_id).select_related("project").first()
    if found is None or not has_role(user, found.project, Role.LEAD):
        raise MissingError("There is no such slice in the projects that you lead.")
    return found


def table_led(user: User, table_id: UUID) -> RewardTable:
    table = RewardTable.objects.filter(pk=table_id).select_related("run__project").first()
    if table is None or not has_role(user, table.run.project, Role.LEAD):
        raise MissingError("There is no such reward table among those that you lead.")
    return table


def token_led(user: User, token_id: UUID) -> ServiceToken:
    token = ServiceToken.objects.filter(pk=token_id).select_related("project").first()
    if token is None or not has_role(user, token.project, Role.LEAD):
        raise MissingError("There is no such token in the projects that you lead.")
    return token


def queue_reviewed(user: User, queue_id: UUID) -> Queue:
    return queue_of_reviewer(user, queue_id)


def queue_led(user: User, queue_id: UUID) -> Queue:
    queue = Queue.objects.filter(pk=queue_id).select_related("project", "rule__run").first()
    if queue is None or not has_role(user, queue.project, Role.LEAD):
        raise MissingError("There is no such queue in the audits that you lead.")
    return queue


def project_adjudicated(user: User, slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None or not may_adjudicate(user, project):
        raise MissingError("There is no such project among those in which you decide.")
    return project


def item_adjudicated(user: User, assignment_id: UUID) -> Assignment:
    return item_to_adjudicate(user, assignment_id)


def pause_led(user: User, pause_id: int) -> Pause:
    pause = Pause.objects.filter(pk=pause_id).select_related("queue__project", "reviewer").first()
    if pause is None or not has_role(user, pause.queue.project, Role.LEAD):
        raise MissingError("There is no such pause in the queues that you lead.")
    return pause


def label_given(user: User, label_id: int) -> Label:
    """A label of one's own that stands, in a queue that shows what the verifiers said."""
    return own_label(user, label_id)


def label_revealed(user: User, label_id: int) -> Label:
    label = own_label(user, label_id)
    if not hasattr(label, "reveal"):
        raise MissingError("There is no such label among yours.")
    return label


def erratum_led(user: User, erratum_id: UUID) -> Erratum:
    erratum = Erratum.objects.filter(pk=erratum_id).select_related("prompt__run__project").first()
    if erratum is None or not has_role(user, erratum.prompt.run.project, Role.LEAD):
        raise MissingError("There is no such erratum in the projects that you lead.")
    return erratum


def assignment_reviewed(user: User, assignment_id: UUID) -> Assignment:
    return assignment_of_reviewer(user, assignment_id)

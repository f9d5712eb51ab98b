"""`/v1/fettle/session`, `/api_keys`, `/members`: signing in, and who may use what. Keys and members are people's
business: a key that leaked must not be able to make its successor."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from fettle_platform.accounts import people, services, wire
from fettle_platform.accounts.auth import KeyOrSession, scope_of_session, scope_of_user
from fettle_platform.accounts.models import ApiKey, Member, User
from fettle_platform.accounts.scoping import Scope
from fettle_platform.accounts.sessions import csrf_require, session_end, session_start
from fettle_platform.core.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from fettle_platform.core.pagination import page_parameters, paginate
from fettle_platform.core.schema import page_of


class SessionView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(operation_id="retrieveSession", responses={200: wire.SessionShape})
    def get(self, request: Request) -> Response:
        """Who asks. Without key or session `signed_in` is false, which is no error."""
        if "Authorization" in request.headers:
            return Response(wire.session_to_wire(KeyOrSession().authenticate(request)[1]))
        return Response(wire.session_to_wire(scope_of_session(request._request)))

    @extend_schema(operation_id="createSession", request=wire.SessionCreateShape, responses={200: wire.SessionShape})
    def post(self, request: Request) -> Response:
        """Sign in, with a link or with address and password. The answer sets the session's cookie."""
        plain: HttpRequest = request._request
        csrf_require(plain)
        values = _read(wire.SessionCreateShape, request)
        if "link" in values:
            user = people.sign_in_with_link(secret=values["link"])
        elif "email" in values and "password" in values:
            user = people.sign_in_with_password(email=values["email"], password=values["password"])
        else:
            raise InvalidRequest(
                "Missing required parameter: 'link', or 'email' and 'password'.", code="missing_required_parameter"
            )
        response = Response(wire.session_to_wire(scope_of_user(user)))
        session_start(plain, response, user)
        return response

    @extend_schema(operation_id="deleteSession", responses={200: wire.SessionShape})
    def delete(self, request: Request) -> Response:
        """Sign out."""
        csrf_require(request._request)
        response = Response(wire.session_to_wire(None))
        session_end(request._request, response)
        return response


class PasswordView(APIView):
    @extend_schema(operation_id="changePassword", request=wire.PasswordShape, responses={200: wire.SessionShape})
    def post(self, request: Request) -> Response:
        """Set one's own password. Every other session of that person ends."""
        user = _person(request)
        values = _read(wire.PasswordShape, request)
        if user.has_usable_password():
            try:
                people.sign_in_with_password(email=user.email, password=values.get("current_password", ""))
            except Unauthorized:
                raise InvalidRequest("The current password is not right", param="current_password") from None
        people.password_set(user=user, password=values["password"])
        response = Response(wire.session_to_wire(request.auth))
        session_start(request._request, response, user)
        return response


class ProjectsView(APIView):
    @extend_schema(operation_id="listProjects", responses={200: wire.ProjectListShape})
    def get(self, request: Request) -> Response:
        """The organization's projects, on one page; a key sees its own alone."""
        projects = request.auth.organization.projects.order_by("pk")
        if request.auth.user is None:
            projects = projects.filter(pk=request.auth.project.pk)
        return Response({"object": "list", "data": [wire.project_to_wire(project) for project in projects]})

    @extend_schema(operation_id="createProject", request=wire.ProjectWriteShape, responses={200: wire.ProjectShape})
    def post(self, request: Request) -> Response:
        """Make an empty project: files, graders, jobs, models and keys of others are not seen in it."""
        _owner(request)
        name = _read(wire.ProjectWriteShape, request)["name"]
        return Response(wire.project_to_wire(services.project_create(request.auth.organization, name=name)))


class ProjectView(APIView):
    @extend_schema(operation_id="renameProject", request=wire.ProjectWriteShape, responses={200: wire.ProjectShape})
    def post(self, request: Request, project_id: str) -> Response:
        """Give it another name; its id stays."""
        _owner(request)
        name = _read(wire.ProjectWriteShape, request)["name"]
        project = request.auth.organization.projects.filter(public_id=project_id).first()
        if project is None:
            raise NotFound(f"No such project: {project_id[:100]}", param="project_id")
        return Response(wire.project_to_wire(services.project_rename(project, name=name)))


class ApiKeysView(APIView):
    @extend_schema(
        operation_id="listApiKeys", parameters=page_parameters(100, 100), responses={200: page_of(wire.ApiKeyShape)}
    )
    def get(self, request: Request) -> Response:
        """The project's keys, the newest first, revoked ones too."""
        keys = ApiKey.objects.filter(project=request.auth.project)
        return Response(paginate(request, keys, wire.api_key_to_wire, default_limit=100, max_limit=100))

    @extend_schema(operation_id="createApiKey", request=wire.ApiKeyCreateShape, responses={200: wire.ApiKeyShape})
    def post(self, request: Request) -> Response:
        """Make a key. `value` in this one answer is the only time it can be seen."""
        _person(request)
        values = _read(wire.ApiKeyCreateShape, request)
        days = values.get("expires_in_days")
        expires_at = timezone.now() + timedelta(days=days) if days else None
        row, plain = services.api_key_create(project=request.auth.project, name=values["name"], expires_at=expires_at)
        return Response(wire.api_key_to_wire(row, plain))


class ApiKeyView(APIView):
    @extend_schema(operation_id="revokeApiKey", responses={200: wire.ApiKeyShape})
    def delete(self, request: Request, key_id: str) -> Response:
        """Revoke a key; it is refused from the next request on."""
        _person(request)
        row = ApiKey.objects.filter(project=request.auth.project, public_id=key_id).first()
        if row is None:
            raise NotFound(f"No such API key: {key_id[:100]}", param="key_id")
        services.api_key_revoke(api_key=row)
        row.refresh_from_db()
        return Response(wire.api_key_to_wire(row))


class MembersView(APIView):
    @extend_schema(operation_id="listMembers", responses={200: wire.MemberListShape})
    def get(self, request: Request) -> Response:
        """Everybody in the organization, on one page."""
        members = Member.objects.filter(organization=request.auth.organization).select_related("user").order_by("pk")
        return Response({"object": "list", "data": [wire.member_to_wire(member) for member in members]})

    @extend_schema(operation_id="addMember", request=wire.MemberCreateShape, responses={200: wire.MemberShape})
    def post(self, request: Request) -> Response:
        """Add a person. The answer holds a link that signs them in once; pass it on to them."""
        _owner(request)
        values = _read(wire.MemberCreateShape, request)
        member = people.member_add(organization=request.auth.organization, email=values["email"], role=values["role"])
        # A person who has a password, or belongs to others too, is not handed to whoever knows the address.
        is_new = not member.user.has_usable_password() and member.user.memberships.count() == 1
        link = f"/sign-in#{people.sign_in_link_create(user=member.user)}" if is_new else None
        return Response(wire.member_to_wire(member, link))


class MemberView(APIView):
    @extend_schema(operation_id="changeMember", request=wire.MemberChangeShape, responses={200: wire.MemberShape})
    def post(self, request: Request, user_id: str) -> Response:
        _owner(request)
        member = _member(request.auth, user_id)
        people.member_change_role(member=member, role=_read(wire.MemberChangeShape, request)["role"])
        return Response(wire.member_to_wire(_member(request.auth, user_id)))

    @extend_schema(operation_id="removeMember", responses={200: wire.DeletedShape})
    def delete(self, request: Request, user_id: str) -> Response:
        _owner(request)
        people.member_remove(member=_member(request.auth, user_id))
        return Response({"id": user_id, "object": "organization.user", "deleted": True})


def _read(shape: type[Serializer], request: Request) -> dict[str, Any]:
    fields = shape(data=request.data)
    fields.is_valid(raise_exception=True)
    return fields.validated_data


def _person(request: Request) -> User:
    if request.auth.user is None:
        raise Forbidden("An API key may not do that; sign in at the server's page")
    return request.auth.user


def _owner(request: Request) -> None:
    _person(request)
    if request.auth.role != Member.Role.OWNER:
        raise Forbidden(f"Only an owner of {request.auth.organization.name} may do that; you are a member")


def _member(scope: Scope, user_id: str) -> Member:
    members = Member.objects.filter(organization=scope.organization, user__public_id=user_id)
    found = members.select_related("user", "organization").first()
    if found is None:
        raise NotFound(f"No such member: {user_id[:100]}", param="user_id")
    return found

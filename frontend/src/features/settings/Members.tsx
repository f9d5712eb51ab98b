import { Button, Group, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { answer, api } from "@/api/client";
import { sessionQuery } from "@/api/queries";
import type { MemberShape } from "@/api/schema";
import { Confirm } from "@/ui/Confirm";
import { dateTime } from "@/ui/format";
import { Section } from "@/ui/Page";
import { Secret } from "@/ui/Secret";
import { Failure, Loaded } from "@/ui/states";

const membersQuery = queryOptions({
  queryKey: ["members"],
  queryFn: () => answer(api.GET("/v1/fettle/members")),
});

type Role = MemberShape["role"];
const ROLES: { value: Role; label: string }[] = [
  { value: "member", label: "Member" },
  { value: "owner", label: "Owner" },
];

export function Members() {
  const members = useQuery(membersQuery);
  const { data: session } = useQuery(sessionQuery);
  const isOwner = session?.role === "owner";
  return (
    <Section
      title={`Members of ${session?.organization?.name ?? "the organization"}`}
      lead="Members do everything but change who is a member; owners do that too."
    >
      {isOwner && <AddMember />}
      <Loaded query={members}>
        {(page) => (
          <Table.ScrollContainer minWidth={480}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th scope="col">Person</Table.Th>
                  <Table.Th scope="col">Role</Table.Th>
                  <Table.Th scope="col">Since</Table.Th>
                  <Table.Td />
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {page.data.map((member) => (
                  <MemberRow
                    key={member.id}
                    member={member}
                    isOwner={isOwner}
                    isYou={member.id === session?.user?.id}
                  />
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </Loaded>
    </Section>
  );
}

function AddMember() {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("member");
  const client = useQueryClient();
  const add = useMutation({
    mutationFn: () => answer(api.POST("/v1/fettle/members", { body: { email, role } })),
    onSuccess: () => {
      setEmail("");
      client.invalidateQueries(membersQuery);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <Stack gap="sm">
      <form onSubmit={submit}>
        <Group align="flex-end" gap="sm">
          <TextInput
            label="Email of a new member"
            type="email"
            required
            withAsterisk={false}
            value={email}
            onChange={(event) => setEmail(event.currentTarget.value)}
          />
          <Select
            label="Role"
            data={ROLES}
            value={role}
            w={130}
            allowDeselect={false}
            onChange={(value) => setRole(value as Role)}
          />
          <Button type="submit" loading={add.isPending}>
            Add
          </Button>
        </Group>
      </form>
      {add.isError && <Failure error={add.error} />}
      {add.data?.sign_in_link && (
        <Secret title={`Pass this link to ${add.data.email}`} value={window.location.origin + add.data.sign_in_link}>
          It signs them in once, within a day. Afterwards they set a password under Settings, You.
        </Secret>
      )}
      {add.data && !add.data.sign_in_link && (
        <Text size="sm" role="status">
          {add.data.email} was added and signs in as before.
        </Text>
      )}
    </Stack>
  );
}

function MemberRow({ member, isOwner, isYou }: { member: MemberShape; isOwner: boolean; isYou: boolean }) {
  const client = useQueryClient();
  const path = { user_id: member.id };
  const refresh = () => {
    client.invalidateQueries(membersQuery);
    if (isYou) client.invalidateQueries(sessionQuery);
  };
  const change = useMutation({
    mutationFn: (role: Role) => answer(api.POST("/v1/fettle/members/{user_id}", { params: { path }, body: { role } })),
    onSettled: refresh,
  });
  return (
    <Table.Tr>
      <Table.Td>
        {member.name ? `${member.name} · ` : ""}
        {member.email}
        {isYou && " (you)"}
      </Table.Td>
      <Table.Td>
        {isOwner ? (
          <Select
            aria-label={`Role of ${member.email}`}
            data={ROLES}
            value={member.role}
            w={130}
            size="xs"
            allowDeselect={false}
            error={change.error?.message}
            onChange={(value) => value && value !== member.role && change.mutate(value as Role)}
          />
        ) : (
          member.role
        )}
      </Table.Td>
      <Table.Td>{dateTime(member.added_at)}</Table.Td>
      <Table.Td ta="right">
        {isOwner && (
          <Confirm
            verb="Remove"
            title={`Remove ${member.email}?`}
            action={() => answer(api.DELETE("/v1/fettle/members/{user_id}", { params: { path } }))}
            onDone={refresh}
            button={(open) => (
              <Button variant="default" size="compact-sm" onClick={open} aria-label={`Remove ${member.email}`}>
                Remove
              </Button>
            )}
          >
            They see nothing of the organization from their next request on. Their jobs, datasets and keys stay.
          </Confirm>
        )}
      </Table.Td>
    </Table.Tr>
  );
}

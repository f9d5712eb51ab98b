import { Anchor, Button, Table } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { dateTime } from "@/ui/format";
import { useKeys } from "@/ui/keys";
import { LoadExample } from "@/ui/LoadExample";
import { Page } from "@/ui/Page";
import { Empty, Loaded } from "@/ui/states";
import { gradersQuery } from "./queries";

export function GradersPage() {
  const graders = useQuery(gradersQuery);
  const navigate = useNavigate();
  useKeys({ n: () => navigate({ to: "/graders/$graderId", params: { graderId: "new" } }) });
  const create = (
    <Button renderRoot={(props) => <Link to="/graders/$graderId" params={{ graderId: "new" }} {...props} />}>
      New grader
    </Button>
  );
  return (
    <Page
      title="Graders"
      lead="The rule that says how good an answer is. It is the goal of a training."
      actions={create}
    >
      <Loaded
        query={graders}
        isEmpty={(page) => page.data.length === 0}
        empty={
          <Empty title="No grader is stored yet." action={<LoadExample />}>
            Build one by form or as JSON, try it on rows and against cheats, then give it a name.
          </Empty>
        }
      >
        {(page) => (
          <Table.ScrollContainer minWidth={420}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th scope="col">Name</Table.Th>
                  <Table.Th scope="col">Kind</Table.Th>
                  <Table.Th scope="col">Version</Table.Th>
                  <Table.Th scope="col">Changed</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {page.data.map((grader) => (
                  <Table.Tr key={grader.id}>
                    <Table.Td style={{ overflowWrap: "anywhere" }}>
                      <Anchor
                        renderRoot={(props) => (
                          <Link to="/graders/$graderId" params={{ graderId: grader.id }} {...props} />
                        )}
                      >
                        {grader.name}
                      </Anchor>
                    </Table.Td>
                    <Table.Td>{String(grader.newest.grader.type)}</Table.Td>
                    <Table.Td>{grader.num_versions}</Table.Td>
                    <Table.Td>{dateTime(grader.newest.created_at)}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </Loaded>
    </Page>
  );
}

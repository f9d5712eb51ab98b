import { Anchor, Badge, Code, Table } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { bytes, dateTime, plural } from "@/ui/format";
import { LoadExample } from "@/ui/LoadExample";
import { Page } from "@/ui/Page";
import { Empty, Loaded } from "@/ui/states";
import { filesQuery } from "./queries";
import { UploadBox } from "./UploadBox";

const ROW = '{"messages": [{"role": "user", "content": "What is 2 + 2?"}], "answer": "4"}';

export function DatasetsPage() {
  const files = useQuery(filesQuery);
  const count = files.data?.data.length;
  return (
    <Page title="Datasets" lead={count ? `${plural(count, "file")} in this project.` : "The questions to learn from."}>
      <UploadBox />
      <Loaded
        query={files}
        isEmpty={(page) => page.data.length === 0}
        empty={
          <Empty title="No dataset yet." action={<LoadExample />}>
            A few dozen rows are enough to begin. One of them, with the right answer for a grader to compare with:
            <Code block mt={6} style={{ whiteSpace: "pre-wrap" }}>
              {ROW}
            </Code>
          </Empty>
        }
      >
        {(page) => (
          <Table.ScrollContainer minWidth={320}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th scope="col">File</Table.Th>
                  <Table.Th scope="col">State</Table.Th>
                  <Table.Th scope="col" ta="right" visibleFrom="sm">
                    Size
                  </Table.Th>
                  <Table.Th scope="col" visibleFrom="sm">
                    Uploaded
                  </Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {page.data.map((file) => (
                  <Table.Tr key={file.id}>
                    <Table.Td>
                      <Anchor
                        style={{ overflowWrap: "anywhere" }}
                        renderRoot={(props) => <Link to="/datasets/$fileId" params={{ fileId: file.id }} {...props} />}
                      >
                        {file.filename}
                      </Anchor>
                    </Table.Td>
                    <Table.Td>
                      {file.status === "error" ? (
                        <Badge color="orange" variant="light">
                          to mend
                        </Badge>
                      ) : (
                        <Badge color="green" variant="light">
                          ready
                        </Badge>
                      )}
                    </Table.Td>
                    <Table.Td ta="right" visibleFrom="sm">
                      {bytes(file.bytes)}
                    </Table.Td>
                    <Table.Td visibleFrom="sm">{dateTime(file.created_at)}</Table.Td>
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

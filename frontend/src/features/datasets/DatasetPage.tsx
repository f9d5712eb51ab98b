import { Button, Menu, Tabs } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { answer, api } from "@/api/client";
import type { FileObject, FileValidation } from "@/api/schema";
import { Confirm } from "@/ui/Confirm";
import { count, plural } from "@/ui/format";
import { Page } from "@/ui/Page";
import { Loaded } from "@/ui/states";
import { Problems } from "./Problems";
import { fileQuery, filesQuery, validationQuery } from "./queries";
import { Rows } from "./Rows";
import { Split } from "./Split";
import { Statistics } from "./Statistics";
import type { DatasetSearch } from "./search";

const route = getRouteApi("/frame/datasets/$fileId");

export function DatasetPage() {
  const { fileId } = route.useParams();
  const file = useQuery(fileQuery(fileId));
  const report = useQuery(validationQuery(fileId));
  return (
    <Page
      title={file.data?.filename ?? "Dataset"}
      lead={report.data && verdict(report.data)}
      actions={
        file.data && (
          <>
            {file.data.status === "processed" && <Onwards fileId={file.data.id} />}
            <Actions file={file.data} />
          </>
        )
      }
    >
      <Loaded query={file}>
        {(described) => <Loaded query={report}>{(found) => <Contents file={described} report={found} />}</Loaded>}
      </Loaded>
    </Page>
  );
}

function verdict(report: FileValidation): string {
  const parts = [plural(report.num_rows, "row")];
  if (report.num_errors) parts.push(plural(report.num_errors, "error"));
  if (report.num_warnings) parts.push(plural(report.num_warnings, "warning"));
  const said = report.num_errors ? "Not usable yet" : "Ready to train on";
  return `${said}: ${parts.join(" · ")}.`;
}

function Contents({ file, report }: { file: FileObject; report: FileValidation }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const change = (part: Partial<DatasetSearch>) =>
    navigate({ search: (before: DatasetSearch) => ({ ...before, ...part }), replace: !("tab" in part) });
  return (
    <>
      <Problems key={file.id} fileId={file.id} report={report} />
      <Tabs
        value={search.tab ?? "rows"}
        onChange={(tab) => change({ tab: tab as DatasetSearch["tab"] })}
        keepMounted={false}
      >
        <Tabs.List>
          <Tabs.Tab value="rows">Rows</Tabs.Tab>
          <Tabs.Tab value="statistics">Statistics</Tabs.Tab>
          <Tabs.Tab value="split">Split and overlap</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="rows" pt="md">
          <Rows fileId={file.id} total={report.num_rows} search={search} onSearch={change} />
        </Tabs.Panel>
        <Tabs.Panel value="statistics" pt="md">
          <Statistics report={report} onValue={(value) => change({ tab: "rows", contains: value })} />
        </Tabs.Panel>
        <Tabs.Panel value="split" pt="md">
          <Split file={file} numRows={report.num_rows} />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}

/** What usable rows are for. */
function Onwards({ fileId }: { fileId: string }) {
  return (
    <>
      <Button
        variant="default"
        renderRoot={(props) => (
          <Link to="/graders/$graderId" params={{ graderId: "new" }} search={{ file: fileId }} {...props} />
        )}
      >
        Write a grader for it
      </Button>
      <Button renderRoot={(props) => <Link to="/jobs/new" search={{ training: fileId }} {...props} />}>
        Train on it
      </Button>
    </>
  );
}

function Actions({ file }: { file: FileObject }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const remove = () => answer(api.DELETE("/v1/files/{file_id}", { params: { path: { file_id: file.id } } }));
  return (
    <Confirm
      verb="Delete"
      title={`Delete ${file.filename}?`}
      action={remove}
      onDone={() => {
        client.invalidateQueries(filesQuery);
        navigate({ to: "/datasets" });
      }}
      button={(open) => (
        <Menu position="bottom-end">
          <Menu.Target>
            <Button variant="default">More</Button>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Label>
              {file.id} · {count(file.bytes)} bytes
            </Menu.Label>
            <Menu.Item component="a" href={`/v1/files/${file.id}/content`} download={file.filename}>
              Download
            </Menu.Item>
            <Menu.Item color="red" onClick={open}>
              Delete
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      )}
    >
      Its rows are gone for good. Jobs that used it, their rollouts and their models stay.
    </Confirm>
  );
}

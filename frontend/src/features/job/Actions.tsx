import { Button, Group, Menu, Stack, Text } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "@/api/client";
import { jobQuery } from "@/api/jobs";
import type { JobShape } from "@/api/schema";
import { Dialog } from "@/ui/Dialog";
import { Failure } from "@/ui/states";

type Verb = "pause" | "resume" | "finish" | "cancel";

interface Wish {
  label: string;
  /** What happens and what survives. */
  words: string;
  danger?: true;
}

const WISHES: Record<Verb, Wish> = {
  pause: {
    label: "Pause",
    words:
      "The current step is finished and saved, then the worker is free for others. Nothing is lost: the job goes on from there when you resume it.",
  },
  resume: {
    label: "Resume",
    words: "The job waits for a worker again and goes on from its newest checkpoint.",
  },
  finish: {
    label: "Finish early and keep the best",
    words:
      "No further steps are made, at most the current one is finished. Then the best candidates are measured again, and one is delivered as a model with its gain, as at the end of a whole job. All checkpoints and rollouts stay. It cannot be undone.",
  },
  cancel: {
    label: "Cancel the job",
    danger: true,
    words:
      "The job stops after its current step and delivers no model. Its events, rollouts and the checkpoints made so far stay, and the kept checkpoints can be used. It cannot be resumed.",
  },
};

const ALLOWED: Record<Verb, readonly JobShape["status"][]> = {
  pause: ["queued", "running"],
  resume: ["paused"],
  finish: ["running", "paused"],
  cancel: ["validating_files", "queued", "running", "pausing", "paused"],
};

const ROUTES = {
  pause: "/v1/fine_tuning/jobs/{job_id}/pause",
  resume: "/v1/fine_tuning/jobs/{job_id}/resume",
  cancel: "/v1/fine_tuning/jobs/{job_id}/cancel",
  finish: "/v1/fettle/fine_tuning/jobs/{job_id}/finish",
} as const;

export function Actions({ job }: { job: JobShape }) {
  const [asked, setAsked] = useState<Verb | null>(null);
  const may = (verb: Verb) => ALLOWED[verb].includes(job.status);
  return (
    <>
      {may("pause") && (
        <Button variant="default" onClick={() => setAsked("pause")}>
          Pause
        </Button>
      )}
      {may("resume") && <Button onClick={() => setAsked("resume")}>Resume</Button>}
      {may("finish") && (
        <Button variant="default" onClick={() => setAsked("finish")}>
          Finish early and keep the best
        </Button>
      )}
      <Menu position="bottom-end">
        <Menu.Target>
          <Button variant="default">More</Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item renderRoot={(props) => <Link to="/jobs/new" search={{ from: job.id }} {...props} />}>
            Duplicate
          </Menu.Item>
          <Menu.Item renderRoot={(props) => <Link to="/jobs" search={{ compare: [job.id] }} {...props} />}>
            Compare with others
          </Menu.Item>
          {may("cancel") && (
            <Menu.Item color="red" onClick={() => setAsked("cancel")}>
              Cancel
            </Menu.Item>
          )}
        </Menu.Dropdown>
      </Menu>
      {asked && <Confirm job={job} verb={asked} onClose={() => setAsked(null)} />}
    </>
  );
}

function Confirm({ job, verb, onClose }: { job: JobShape; verb: Verb; onClose: () => void }) {
  const client = useQueryClient();
  const wish = WISHES[verb];
  const act = useMutation({
    mutationFn: () => answer(api.POST(ROUTES[verb], { params: { path: { job_id: job.id } } })),
    onSuccess: (changed) => {
      client.setQueryData(jobQuery(job.id).queryKey, changed);
      client.invalidateQueries({ queryKey: ["jobs"] });
      onClose();
    },
  });
  return (
    <Dialog title={`${wish.label}?`} onClose={onClose}>
      <Stack>
        <Text size="sm">{wish.words}</Text>
        {act.isError && <Failure error={act.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {verb === "cancel" ? "Keep it running" : "Not now"}
          </Button>
          <Button
            color={wish.danger && "red"}
            loading={act.isPending}
            onClick={() => act.mutate()}
            data-autofocus={wish.danger ? undefined : true}
          >
            {wish.label}
          </Button>
        </Group>
      </Stack>
    </Dialog>
  );
}

import { Alert, Button, Menu, Stack, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api } from "@/api/client";
import { chooseProject } from "@/api/project";
import { sessionQuery } from "@/api/queries";
import { Dialog } from "@/ui/Dialog";

/** Which project the page looks at. What one holds is not seen in another, so everything is read anew. */
export function ProjectSwitch() {
  const { data: session } = useQuery(sessionQuery);
  const [making, setMaking] = useState(false);
  const choose = useChoice();
  const mayMake = session?.role === "owner";
  if (!session?.project || !session.projects || (session.projects.length < 2 && !mayMake)) return null;
  const here = session.project.id;
  return (
    <>
      <Menu position="bottom-start">
        <Menu.Target>
          <Button
            variant="subtle"
            size="compact-sm"
            color="gray"
            maw={{ base: 96, sm: 240 }}
            rightSection={<span aria-hidden>▾</span>}
            aria-label={`Project ${session.project.name}`}
          >
            {session.project.name}
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>Project</Menu.Label>
          {session.projects.map((project) => (
            <Menu.Item
              key={project.id}
              aria-current={project.id === here || undefined}
              rightSection={project.id === here ? <span aria-hidden>✓</span> : undefined}
              onClick={() => project.id !== here && choose(project.id)}
            >
              {project.name}
            </Menu.Item>
          ))}
          {mayMake && (
            <>
              <Menu.Divider />
              <Menu.Item onClick={() => setMaking(true)}>New project…</Menu.Item>
            </>
          )}
        </Menu.Dropdown>
      </Menu>
      {making && <NewProject onClose={() => setMaking(false)} onMade={choose} />}
    </>
  );
}

/** To the overview of another project: the open page may be about something that it does not have. */
function useChoice() {
  const client = useQueryClient();
  const navigate = useNavigate();
  return async (id: string) => {
    chooseProject(id);
    await navigate({ to: "/" });
    await client.resetQueries();
  };
}

function NewProject({ onClose, onMade }: { onClose: () => void; onMade: (id: string) => void }) {
  const [name, setName] = useState("");
  const make = useMutation({
    mutationFn: () => answer(api.POST("/v1/fettle/projects", { body: { name } })),
    onSuccess: (made) => {
      onClose();
      onMade(made.id);
    },
  });
  return (
    <Dialog title="New project" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) make.mutate();
        }}
      >
        <Stack>
          <TextInput
            label="Name"
            description="It begins empty: datasets, graders, jobs, models and keys stay in theirs."
            value={name}
            maxLength={200}
            data-autofocus
            onChange={(event) => setName(event.currentTarget.value)}
          />
          {make.isError && (
            <Alert color="red" role="alert">
              {make.error.message}
            </Alert>
          )}
          <Button type="submit" loading={make.isPending} disabled={!name.trim()} style={{ alignSelf: "flex-end" }}>
            Make it
          </Button>
        </Stack>
      </form>
    </Dialog>
  );
}

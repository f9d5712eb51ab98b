/** Every address of the page. Each feature is a chunk of its own, fetched when it is first opened. */
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";
import { sessionQuery } from "@/api/queries";
import { datasetSearch } from "@/features/datasets/search";
import { graderSearch } from "@/features/graders/search";
import { playgroundSearch } from "@/features/playground/search";
import { settingsSearch } from "@/features/settings/search";
import { Broken, NotFound } from "./Broken";
import { Frame } from "./Frame";
import { compareSearch, jobSearch, jobsSearch, newJobSearch, rolloutsSearch } from "./job-routes";

const root = createRootRouteWithContext<{ queryClient: QueryClient }>()();

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  component: lazyRouteComponent(() => import("@/features/sign-in/SignInPage"), "SignInPage"),
});

/** Everything behind the sign-in. */
const frame = createRoute({
  getParentRoute: () => root,
  id: "frame",
  component: Frame,
  beforeLoad: async ({ context, location }) => {
    const session = await context.queryClient.ensureQueryData(sessionQuery);
    if (!session.signed_in) throw redirect({ to: "/sign-in", search: { next: location.href } });
  },
});

const page = <Path extends string>(path: Path) => ({ getParentRoute: () => frame, path }) as const;

const overview = createRoute({
  ...page("/"),
  component: lazyRouteComponent(() => import("@/features/overview/OverviewPage"), "OverviewPage"),
});

const datasets = createRoute({
  ...page("/datasets"),
  component: lazyRouteComponent(() => import("@/features/datasets/DatasetsPage"), "DatasetsPage"),
});

const dataset = createRoute({
  ...page("/datasets/$fileId"),
  validateSearch: datasetSearch,
  component: lazyRouteComponent(() => import("@/features/datasets/DatasetPage"), "DatasetPage"),
});

const graders = createRoute({
  ...page("/graders"),
  component: lazyRouteComponent(() => import("@/features/graders/GradersPage"), "GradersPage"),
});

const grader = createRoute({
  ...page("/graders/$graderId"),
  validateSearch: graderSearch,
  component: lazyRouteComponent(() => import("@/features/graders/GraderPage"), "GraderPage"),
});

const models = createRoute({
  ...page("/models"),
  component: lazyRouteComponent(() => import("@/features/models/ModelsPage"), "ModelsPage"),
});

const model = createRoute({
  ...page("/models/$modelId"),
  component: lazyRouteComponent(() => import("@/features/models/ModelPage"), "ModelPage"),
});

const playground = createRoute({
  ...page("/playground"),
  validateSearch: playgroundSearch,
  component: lazyRouteComponent(() => import("@/features/playground/PlaygroundPage"), "PlaygroundPage"),
});

const settings = createRoute({
  ...page("/settings"),
  validateSearch: settingsSearch,
  component: lazyRouteComponent(() => import("@/features/settings/SettingsPage"), "SettingsPage"),
});

const jobs = createRoute({
  ...page("/jobs"),
  validateSearch: jobsSearch,
  component: lazyRouteComponent(() => import("@/features/jobs/JobsPage"), "JobsPage"),
});
const newJob = createRoute({
  ...page("/jobs/new"),
  validateSearch: newJobSearch,
  component: lazyRouteComponent(() => import("@/features/new-job/NewJobPage"), "NewJobPage"),
});
const compare = createRoute({
  ...page("/jobs/compare"),
  validateSearch: compareSearch,
  component: lazyRouteComponent(() => import("@/features/compare/ComparePage"), "ComparePage"),
});
const job = createRoute({
  ...page("/jobs/$jobId"),
  validateSearch: jobSearch,
  component: lazyRouteComponent(() => import("@/features/job/JobPage"), "JobPage"),
});
const rollouts = createRoute({
  ...page("/jobs/$jobId/rollouts"),
  validateSearch: rolloutsSearch,
  component: lazyRouteComponent(() => import("@/features/rollouts/RolloutsPage"), "RolloutsPage"),
});
const usage = createRoute({
  ...page("/usage"),
  component: lazyRouteComponent(() => import("@/features/usage/UsagePage"), "UsagePage"),
});

const nowhere = createRoute({ ...page("/$"), component: NotFound });

const pages = [
  overview,
  datasets,
  dataset,
  graders,
  grader,
  jobs,
  newJob,
  compare,
  job,
  rollouts,
  models,
  model,
  playground,
  settings,
  usage,
  nowhere,
] as const;
const routeTree = root.addChildren([signIn, frame.addChildren(pages)]);

export function createAppRouter(queryClient: QueryClient) {
  // A new page begins at its top; what only changes within a page never moves it under the reader's eye.
  let isNewPage = true;
  const router = createRouter({
    routeTree,
    context: { queryClient },
    defaultPreload: "intent",
    defaultErrorComponent: Broken,
    defaultPendingMs: 300,
    scrollRestoration: () => isNewPage,
  });
  router.subscribe("onBeforeLoad", ({ pathChanged }) => {
    isNewPage = pathChanged;
  });
  return router;
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }
}

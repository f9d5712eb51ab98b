import "@mantine/core/styles.css";
import "./app/theme.css";
import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createQueryClient, sessionQuery } from "./api/queries";
import { createAppRouter } from "./app/routes";
import { theme } from "./app/theme";

const queryClient = createQueryClient();
const router = createAppRouter(queryClient);

// Whoever is signed out, here or elsewhere, is led to the sign-in; whoever signs in, back.
queryClient.getQueryCache().subscribe((event) => {
  if (event.query.queryHash === JSON.stringify(sessionQuery.queryKey) && event.type !== "observerAdded") {
    const signedIn = event.query.state.data?.signed_in;
    if (event.type === "removed" || (event.type === "updated" && signedIn === false)) router.invalidate();
  }
});

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={queryClient}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);

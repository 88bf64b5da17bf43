import type { ClassInfo, Likely, Picture, Problem } from "../src/api.types";

export interface MockServer {
  pictures: Picture[];
  classes: ClassInfo[];
  log: { id: string; text: string; undone: boolean; kind: string }[];
  requests: { method: string; path: string; search: string; body: unknown }[];
  up: boolean;
  scanning: boolean;
  tasks: unknown[];
  groups: { id: string; ids: string[]; aside: string | null; likely: Likely | null }[];
  near: string[][];
  groupsRev: number;
  modelRev: number;
  firstLook: number;
  regroup: (groups: number[][]) => void;
  handle: (method: string, address: string, body: unknown) => { status: number; body: unknown };
  add: (found: Picture[]) => void;
}

export function mockServer(options?: {
  names?: number; problems?: Problem[]; firstVisit?: boolean; folder?: string; groups?: number[][];
  near?: string[][]; firstLook?: number; modelRev?: number;
}): MockServer;

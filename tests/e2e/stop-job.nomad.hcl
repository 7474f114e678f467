# Replicas without a deadline, and a balancer that stops the job at its own deadline, or when it is
# idle; run by tests/e2e/test_stop_job.py and test_idle.py.

variable "ttl" {
  type = string
}

variable "port" {
  type = number
}

variable "idle_timeout" {
  type    = string
  default = "off"
}

variable "admin_port" {
  type    = string
  default = "off"
}

variable "type" {
  type    = string
  default = "batch"
}

variable "parameterized" {
  type    = bool
  default = false
}

variable "autoexit_nginx" {
  type    = string
  default = ".venv/bin/autoexit-nginx"
}

job "stopped" {
  type        = var.type
  datacenters = ["*"]

  dynamic "parameterized" {
    for_each = var.parameterized ? ["once"] : []
    content {}
  }

  group "replicas" {
    count          = 2
    shutdown_delay = "2s" # deregistered first: the balancer exits before the replicas

    network {
      port "http" {}
    }

    service {
      provider = "nomad"
      name     = "stopped-replicas"
      port     = "http"
    }

    task "server" {
      driver = "raw_exec"

      config {
        command = "python3"
        args    = ["-m", "http.server", "${NOMAD_PORT_http}", "--bind", "${NOMAD_IP_http}"]
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }

  group "balancer" {
    network {
      port "http" {
        static = var.port
      }
    }

    task "nginx" {
      driver = "raw_exec"

      config {
        command = abspath(var.autoexit_nginx)
        args    = ["run"]
      }

      env {
        SERVICE_NAME   = "stopped-replicas"
        TTL            = var.ttl
        IDLE_TIMEOUT   = var.idle_timeout
        ADMIN_PORT     = var.admin_port
        AT_DEADLINE    = "stop-job"
        LISTEN_ADDRESS = "${NOMAD_IP_http}"
      }

      identity {
        env  = true
        file = true
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
